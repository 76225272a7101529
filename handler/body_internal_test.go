package handler

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/upstream"
)

// TestBodyReaders has a second attempt begin while the first still waits for
// the client: what comes is the second one's.
func TestBodyReaders(t *testing.T) {
	client, wire := io.Pipe()
	r := &http.Request{Body: client, ContentLength: 6, ProtoMajor: 1}
	b := newBody(r, http.NewResponseController(httptest.NewRecorder()), 0, true)
	open := func() *bodyReader {
		out := new(http.Request)
		b.open(out, new(upstream.Try))
		rd, ok := out.Body.(*bodyReader)
		if !ok {
			t.Fatalf("body = %T, want a bodyReader", out.Body)
		}
		return rd
	}
	first := open()
	late := make(chan error)
	go func() {
		_, err := io.ReadAll(first)
		late <- err
	}()
	wire.Write([]byte("abc"))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := open()
	go func() {
		wire.Write([]byte("def"))
		wire.Close()
	}()
	got, err := io.ReadAll(second)
	if string(got) != "abcdef" || err != nil {
		t.Errorf("second reader = %q, %v, want abcdef", got, err)
	}
	if err := <-late; !errors.Is(err, errDetached) {
		t.Errorf("first reader = %v, want errDetached", err)
	}
	third, err := io.ReadAll(open())
	if string(third) != "abcdef" || err != nil {
		t.Errorf("third reader = %q, %v, want abcdef again", third, err)
	}
}

// TestBodyKeeps has bodies around what is kept.
func TestBodyKeeps(t *testing.T) {
	tests := []struct {
		name string
		size int64
		keep bool
		lost bool
	}{
		{"nothing was read", 0, true, false},
		{"nothing was read, and nothing is kept", 0, false, false},
		{"all is kept", maxReplay, true, false},
		{"one byte too many", maxReplay + 1, true, true},
		{"not to be kept", 1, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Body: io.NopCloser(strings.NewReader(strings.Repeat("a", maxReplay*2))), ContentLength: -1, ProtoMajor: 1}
			b := newBody(r, http.NewResponseController(httptest.NewRecorder()), 0, tt.keep)
			out := new(http.Request)
			b.open(out, new(upstream.Try))
			if _, err := io.CopyN(io.Discard, struct{ io.Reader }{out.Body}, tt.size); err != nil {
				t.Fatal(err)
			}
			if got := b.lost.Load(); got != tt.lost {
				t.Errorf("lost = %v, want %v", got, tt.lost)
			}
		})
	}
}

// deadlines is a writer that knows the last deadline for reading.
type deadlines struct {
	http.ResponseWriter

	read atomic.Pointer[time.Time]
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read.Store(&t)
	return nil
}

// TestBodyExtended has a limit set anew in the middle of a read, and at the end of
// one, when the server may have taken the limit back already: a body that has ended
// has none, or the server would take the client for gone when it has passed.
func TestBodyExtended(t *testing.T) {
	w := &deadlines{ResponseWriter: httptest.NewRecorder()}
	client, wire := io.Pipe()
	b := newBody(&http.Request{Body: client, ContentLength: -1, ProtoMajor: 1}, http.NewResponseController(w), time.Second, true)
	out := new(http.Request)
	b.open(out, new(upstream.Try))
	go func() {
		wire.Write([]byte("a"))
		b.extend(time.Minute)
		wire.Close()
	}()
	if _, err := io.ReadAll(struct{ io.Reader }{out.Body}); err != nil {
		t.Fatal(err)
	}
	if got := w.read.Load(); !got.IsZero() {
		t.Errorf("the deadline at the end of the body is %v, want none", got)
	}
	b.extend(time.Minute)
	if got := w.read.Load(); !got.IsZero() {
		t.Errorf("the deadline after the end of the body is %v, want none", got)
	}
}
