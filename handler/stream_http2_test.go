package handler_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
)

// http2 returns what speaks HTTP/2 with p until the test ends.
func (p *piped) http2(t *testing.T) *http.Transport {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		p.conns <- far
		return near, nil
	}}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// accepting asks for an answer of a kind.
func accepting(t *testing.T, kind string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", kind)
	return r
}

// TestStreamsRestOverHTTP2: a stream with nothing to send for longer than a
// client may take nothing is not ended, by a deadline of what it sent before.
func TestStreamsRestOverHTTP2(t *testing.T) {
	rests := memory{serve: func(ctx context.Context, c *caller) error {
		for range 3 {
			if err := c.say("1"); err != nil {
				return err
			}
			if err := pause(ctx, 3*time.Minute); err != nil {
				return err
			}
		}
		return nil
	}}
	opts := handler.StreamOptions{Ping: 4 * time.Minute, Take: 30 * time.Second}
	tests := []struct {
		name, kind, want string
		h                http.Handler
	}{
		{"lines", asLines, "1\n1\n1\n", handler.RPC(rests, &handler.RPCOptions{Streams: opts})},
		{"events", asEvents, "data: 1\n\ndata: 1\n\n:\n\ndata: 1\n\n:\n\nevent: end\ndata: {}\n\n", handler.RPC(rests, &handler.RPCOptions{Streams: opts})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				res, err := inMemory(t, goapi.With(streamRoute(), tt.h)).http2(t).RoundTrip(accepting(t, tt.kind))
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if got, err := io.ReadAll(res.Body); res.ProtoMajor != 2 || err != nil || string(got) != tt.want {
					t.Errorf("answer in %s = %q, %v; want %q in HTTP/2", res.Proto, got, err, tt.want)
				}
			})
		})
	}
}

// TestRegistryRestsOverHTTP2 holds the same for who follows the registry. Its
// signs of life come as late as its clients may take them.
func TestRegistryRestsOverHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		time.AfterFunc(time.Minute+time.Second, func() { close(done) })
		h := handler.Registry(new(registry.Memory), &handler.RegistryOptions{Heartbeat: 20 * time.Second, Done: done})
		res, err := inMemory(t, h).http2(t).RoundTrip(accepting(t, asEvents))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if got, err := io.ReadAll(res.Body); err != nil || string(got) != ":\n\n:\n\n:\n\n" {
			t.Errorf("answer = %q, %v; want three signs of life", got, err)
		}
	})
}

// TestStreamsTakeOverHTTP2: a client that takes nothing does not hold a stream.
func TestStreamsTakeOverHTTP2(t *testing.T) {
	for _, kind := range []string{asLines, asEvents} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan time.Duration, 1)
				start := time.Now()
				floods := memory{serve: func(_ context.Context, c *caller) error {
					defer func() { ended <- time.Since(start) }()
					large := `"` + strings.Repeat("x", 1<<20) + `"`
					for {
						if err := c.say(large); err != nil {
							return err
						}
					}
				}}
				h := goapi.With(streamRoute(), handler.RPC(floods, &handler.RPCOptions{Streams: handler.StreamOptions{Take: 30 * time.Second}}))
				res, err := inMemory(t, h).http2(t).RoundTrip(accepting(t, kind))
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if got := <-ended; got != 30*time.Second {
					t.Errorf("the stream ended after %v, want 30s", got)
				}
			})
		})
	}
}
