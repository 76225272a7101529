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

// The frames of these tests, as they are on the wire.
func ping() []byte   { return append([]byte{0, 0, 8, 6, 0, 0, 0, 0, 0}, make([]byte, 8)...) }
func reset() []byte  { return append([]byte{0, 0, 4, typeReset, 0, 0, 0, 0, 1}, make([]byte, 4)...) }
func answer() []byte { return []byte{0, 0, 1, typeHeaders, 4, 0, 0, 0, 1, 0x88} }

// TestFrames has a client send so many frames a second, each at its time.
func TestFrames(t *testing.T) {
	tests := []struct {
		name    string
		frame   []byte
		streams int
		second  int
		want    time.Duration // until it is too much; 0 for never
	}{
		{"pings, as many as there may be", ping(), 250, 1000, 0},
		{"pings, half as many again", ping(), 250, 1500, 2 * time.Second},
		{"pings, five times as many", ping(), 250, 5000, 250 * time.Millisecond},
		{"pings, a flood", ping(), 250, 100_000, 10 * time.Millisecond},
		{"pings of one who may have many streams", ping(), 1000, 4000, 0},
		{"resets, as many as there may be", reset(), 250, 250, 0},
		{"resets, half as many again", reset(), 250, 375, 2 * time.Second},
		{"resets, a flood", reset(), 250, 25_000, 10 * time.Millisecond},
		{"resets, as few as there may be", reset(), 10, 10, 0},
		{"resets of few, half as many again", reset(), 10, 15, 1930 * time.Millisecond},
		{"resets of one who may have many streams", reset(), 1000, 1000, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Unix(1000, 0)
			f := newFrames(tt.streams, began, 1)
			var got time.Duration
			for past := time.Duration(0); past < time.Hour/10; past += time.Second / time.Duration(tt.second) {
				if !f.read(tt.frame, began.Add(past)) {
					got = past
					break
				}
			}
			if diff := (got - tt.want).Abs(); diff > 100*time.Millisecond || (got == 0) != (tt.want == 0) {
				t.Errorf("%d a second were too many after %s, want %s", tt.second, got, tt.want)
			}
		})
	}
}

// TestFramesInTheBeginning has a client send all that it may at once, on
// connections that are older and older.
func TestFramesInTheBeginning(t *testing.T) {
	tests := []struct {
		name  string
		part  float64
		age   time.Duration
		pings int
		reset int
	}{
		{"at once", 1, 0, 1050, 262},
		{"after a second", 1, time.Second, 2050, 512},
		{"after three", 1, 3 * time.Second, 4000, 1000},
		{"after an hour", 1, time.Hour, 4000, 1000},
		{"at once, by one who is known for floods", doubted, 0, 150, 37},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for want, frame := range map[int][]byte{tt.pings: ping(), tt.reset: reset()} {
				began := time.Unix(1000, 0)
				f := newFrames(250, began, tt.part)
				got := 0
				for f.read(frame, began.Add(tt.age)) {
					got++
				}
				if got != want {
					t.Errorf("%d were allowed, want %d", got, want)
				}
			}
		})
	}
}

// TestFramesOfOneWhoIsAnswered has a client send frames for each answer, or part
// of one, in no time.
func TestFramesOfOneWhoIsAnswered(t *testing.T) {
	small := []byte{0, 0, 1, typeData, 0, 0, 0, 0, 1, 'x'}
	large := append([]byte{0, 0x40, 0, typeData, 0, 0, 0, 0, 1}, make([]byte, 16<<10)...)
	tests := []struct {
		name   string
		answer []byte
		frame  []byte
		n      int
		closed bool
	}{
		{"as many pings as an answer earns", answer(), ping(), earnAnswer, false},
		{"more pings than an answer earns", answer(), ping(), earnAnswer + 5, true},
		{"a reset of each answer", answer(), reset(), 1, false},
		{"as many pings as a small part earns", small, ping(), earnData, false},
		{"as many pings as a large part earns", large, ping(), earnData + 32, false},
		{"more pings than a large part earns", large, ping(), earnData + 33, true},
		{"pings for what was reset", reset(), ping(), 1, true},
		{"pings for pings", ping(), ping(), 1, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			f := newFrames(250, now, 1)
			f.budget.rate = 0 // in no time, also for what the server sends
			closed := false
			for range 20_000 {
				f.wrote(tt.answer)
				for range tt.n {
					closed = closed || !f.read(tt.frame, now)
				}
			}
			if closed != tt.closed {
				t.Errorf("closed = %t, want %t", closed, tt.closed)
			}
		})
	}
}

// TestEarnings are bounded: who was answered for an hour may not send for an hour.
func TestEarnings(t *testing.T) {
	now := time.Unix(1000, 0)
	f := newFrames(250, now, 1)
	for range 1_000_000 {
		f.wrote(answer())
	}
	sent := 0
	for f.read(ping(), now) {
		sent++
	}
	if sent != burst*minRate {
		t.Errorf("%d frames were allowed at once, want %d", sent, burst*minRate)
	}
}

// TestRequestsOfADebtor are refused, though they cost nothing.
func TestRequestsOfADebtor(t *testing.T) {
	now := time.Unix(1000, 0)
	f := newFrames(250, now, 1)
	request := []byte{0, 0, 1, typeHeaders, 5, 0, 0, 0, 1, 0x82}
	for range 1000 {
		if !f.read(request, now) {
			t.Fatal("a request was refused")
		}
	}
	f.budget.rate = 0
	for range 263 {
		f.wrote(reset())
	}
	if f.read(request, now) {
		t.Error("a request was taken of one who makes the server reset streams")
	}
}
