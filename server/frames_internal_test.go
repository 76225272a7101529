package server

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// FuzzFraming finds the same frames however their bytes come, as one does who has
// all of them.
func FuzzFraming(f *testing.F) {
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte("fragment"), EndHeaders: true})
	_ = fr.WriteData(1, false, []byte("data"))
	_ = fr.WriteData(1, false, nil)
	_ = fr.WriteDataPadded(1, false, nil, make([]byte, 7))
	_ = fr.WriteDataPadded(1, true, []byte("data"), make([]byte, 7))
	_ = fr.WritePing(false, [8]byte{})
	f.Add(b.Bytes(), uint8(1))
	f.Add(b.Bytes(), uint8(9))
	f.Add(b.Bytes(), uint8(255))
	f.Add([]byte{0, 0, 0, typeData, flagPadded, 0, 0, 0, 1}, uint8(3)) // padded, and empty
	f.Add([]byte{0, 0, 1, typeData, flagPadded, 0, 0, 0, 1, 200}, uint8(3))
	f.Fuzz(func(t *testing.T, p []byte, step uint8) {
		want := allFrames(p)
		var got []frame
		var in framing
		for rest := p; len(rest) > 0; {
			part := rest[:min(len(rest), 1+int(step))]
			rest = rest[len(part):]
			for len(part) > 0 {
				h, more, ok := in.next(part)
				if ok {
					got = append(got, h)
				}
				if len(more) >= len(part) {
					t.Fatalf("next took nothing of %d bytes", len(part))
				}
				part = more
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("frames = %v, want %v", got, want)
		}
	})
}

// allFrames returns the frames of which p has the beginning.
func allFrames(p []byte) (all []frame) {
	for len(p) >= frameHeader {
		h := frame{kind: p[3], length: int(p[0])<<16 | int(p[1])<<8 | int(p[2])}
		if h.kind == typeData && p[4]&flagPadded != 0 && h.length > 0 {
			if len(p) == frameHeader {
				return all
			}
			h.padding = 1 + int(p[frameHeader])
		}
		all = append(all, h)
		p = p[min(len(p), frameHeader+h.length):]
	}
	return all
}

// TestFrames has a client send so many frames a second, and be answered.
func TestFrames(t *testing.T) {
	ping := []byte{0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	answer := []byte{0, 0, 1, typeHeaders, 4, 0, 0, 0, 1, 0x88}
	small := []byte{0, 0, 1, typeData, 0, 0, 0, 0, 1, 'x'}
	large := append([]byte{0, 0x40, 0, typeData, 0, 0, 0, 0, 1}, make([]byte, 16<<10)...)
	tests := []struct {
		name   string
		pings  int // for each answer, or a second
		answer []byte
		want   int // until it is too much; 0 for never
	}{
		{"a thousand a second", 1000, nil, 0},
		{"two thousand a second", 2000, nil, 4000},
		{"a hundred thousand a second", 100_000, nil, 2020},
		{"as many as an answer earns", earnAnswer, answer, 0},
		{"more than an answer earns", 10 * earnAnswer, answer, 2223},
		{"as many as a small part earns", earnData, small, 0},
		{"as many as a large part earns", earnData + 32, large, 0},
		{"more than a large part earns", 10 * (earnData + 32), large, 2223},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			f := newFrames(250, now, 1)
			if tt.answer != nil {
				f.budget.rate = 0 // in no time at all
			}
			got := 0
			for sent := 1; sent <= 200_000 && got == 0; sent++ {
				if tt.answer == nil {
					now = now.Add(time.Second / time.Duration(tt.pings))
				} else if sent%tt.pings == 1 || tt.pings == 1 {
					f.wrote(tt.answer)
				}
				if !f.read(ping, now) {
					got = sent
				}
			}
			if diff := got - tt.want; diff < -200 || diff > 200 || (got == 0) != (tt.want == 0) {
				t.Errorf("frame %d was too many, want %d", got, tt.want)
			}
		})
	}
}

// TestEarnings are bounded: who was answered for an hour may not send for an hour.
func TestEarnings(t *testing.T) {
	now := time.Unix(1000, 0)
	f := newFrames(250, now, 1)
	for range 1_000_000 {
		f.budget.earn(earnAnswer)
	}
	ping := []byte{0, 0, 0, 6, 0, 0, 0, 0, 0}
	sent := 0
	for f.read(ping, now) {
		sent++
	}
	if sent != 16_000 {
		t.Errorf("%d frames were allowed at once, want 16000", sent)
	}
}
