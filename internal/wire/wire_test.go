package wire_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"testing"

	"github.com/goapi-dev/goapi/internal/wire"
)

// pipe is a connection that takes what is written, or fails after n bytes.
type pipe struct {
	net.Conn

	n   int
	err error
}

func (p *pipe) Write(b []byte) (int, error) {
	if p.err != nil {
		return p.n, p.err
	}
	return len(b), nil
}

// guarded is a connection that has a Conn within, as the HTTP handler's has.
type guarded struct{ *wire.Conn }

func TestTripSent(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name  string
		under pipe
		write bool
		want  bool
	}{
		{"nothing yet", pipe{}, false, false},
		{"written", pipe{}, true, true},
		{"nothing of it", pipe{err: broken}, true, false},
		{"a part of it", pipe{n: 1, err: broken}, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &wire.Conn{Conn: &tt.under}
			for name, used := range map[string]net.Conn{"plain": c, "TLS": tls.Client(c, nil), "embedded": guarded{c}} {
				var trip wire.Trip
				trip.GotConn(httptrace.GotConnInfo{Conn: used, Reused: true})
				if tt.write {
					_, _ = c.Write([]byte("GET")) // its error is the test's
				}
				if got := trip.Sent(); got != tt.want {
					t.Errorf("%s: Sent = %t, want %t", name, got, tt.want)
				}
				if got := trip.Again(t.Context()); got == tt.want {
					t.Errorf("%s: Again = %t, want %t", name, got, !tt.want)
				}
				if got := trip.Sent(); got != tt.want {
					t.Errorf("%s: Sent after Again = %t, want %t", name, got, tt.want)
				}
			}
		})
	}
}

// A transport that tries again by itself takes another connection; what was
// written to the first was sent nevertheless.
func TestTripRemembersConnections(t *testing.T) {
	first, second := &wire.Conn{Conn: new(pipe)}, &wire.Conn{Conn: new(pipe)}
	var trip wire.Trip
	trip.GotConn(httptrace.GotConnInfo{Conn: first, Reused: true})
	_, _ = first.Write([]byte("GET")) // to a pipe
	trip.GotConn(httptrace.GotConnInfo{Conn: second, Reused: true})
	if !trip.Sent() {
		t.Error("Sent = false, want true")
	}
	_, _ = second.Write([]byte("GET")) // another request's
	var next wire.Trip
	next.GotConn(httptrace.GotConnInfo{Conn: second, Reused: true})
	if next.Sent() {
		t.Error("Sent = true for what another request wrote, want false")
	}
}

func TestTripAgain(t *testing.T) {
	kept := httptrace.GotConnInfo{Conn: &wire.Conn{Conn: new(pipe)}, Reused: true}
	fresh := kept
	fresh.Reused = false

	var trip wire.Trip
	for n := 1; n <= 3; n++ {
		trip.GotConn(kept)
		if got, want := trip.Again(t.Context()), n < 3; got != want {
			t.Errorf("Again after %d stale connections = %t, want %t", n, got, want)
		}
	}
	trip = wire.Trip{}
	trip.GotConn(fresh)
	if trip.Again(t.Context()) {
		t.Error("Again after a new connection = true, want false")
	}
	trip = wire.Trip{}
	trip.GotConn(kept)
	if !trip.Again(t.Context()) || trip.Again(t.Context()) {
		t.Error("Again after a stale connection and none = true, want true and false")
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	trip = wire.Trip{}
	trip.GotConn(kept)
	if trip.Again(done) {
		t.Error("Again when the context is done = true, want false")
	}
	trip = wire.Trip{}
	trip.GotConn(httptrace.GotConnInfo{Conn: new(pipe), Reused: true})
	if trip.Again(t.Context()) || !trip.Sent() {
		t.Error("Again on a connection that is not counted = true, want false, and sent")
	}
}
