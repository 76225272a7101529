package handler_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// TestSocketOpens: what goes wrong before a stream is open is answered as HTTP
// has it, and a node that cannot be reached costs nothing while another can.
func TestSocketOpens(t *testing.T) {
	nobody := streamRoute()
	nobody.Upstream = nil
	tests := []struct {
		name string
		c    client.Caller
		rt   *goapi.Route
		want int
	}{
		{"no streams", answer("{}"), nil, 501},
		{"no nodes", memory{}, nobody, 503},
		{"unreachable", memory{open: refuses(errors.New("dial tcp 192.0.2.1:80: refused"))}, nil, 502},
		{"no method", memory{open: refuses(goapi.NewError(404, "no such method", nil))}, nil, 404},
		{"foreign", client.ByProtocol{"mucp": answer("{}")}, nil, 502},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rt := tt.rt
			if rt == nil {
				rt = streamRoute()
			}
			_, res, err := tryDial(t, serveStreams(t, tt.c, rt, nil))
			if err == nil || res == nil || res.StatusCode != tt.want {
				t.Fatalf("handshake = %s, want %d", textOf(res), tt.want)
			}
			if text := textOf(res); strings.Contains(text, "192.0.2.1") || !strings.Contains(text, `"detail"`) {
				t.Errorf("answer = %s, want it in our form and without an address", text)
			}
		})
	}
	t.Run("another node", func(t *testing.T) {
		rt := streamRoute()
		rt.Upstream = upstream.Static("192.0.2.1:80", "192.0.2.2:80")
		calls := 0
		conn := openSocket(t, serveStreams(t, memory{serve: says("1"), open: func(*registry.Node, *client.Request) error {
			if calls++; calls == 1 {
				return errors.New("refused")
			}
			return nil
		}}, rt, nil))
		if got := nextFrame(t, conn); got != "t1" || calls != 2 {
			t.Errorf("message = %q after %d calls, want 1 after 2", got, calls)
		}
	})
}

// TestSocketCounts: a stream counts among what its node has in flight until it
// ends, and among the streams of the gateway.
func TestSocketCounts(t *testing.T) {
	rt := streamRoute()
	ended := make(chan struct{}, 10)
	h := goapi.With(rt, handler.RPC(memory{serve: echoes}, &handler.RPCOptions{Streams: handler.StreamOptions{MaxStreams: 1}}))
	url := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		ended <- struct{}{}
	}))
	for range 2 {
		conn := openSocket(t, url)
		writeText(t, conn, "1")
		nextFrame(t, conn)
		if n := rt.Upstream.Nodes()[0]; n.InFlight != 1 || n.Latency == 0 {
			t.Errorf("node = %+v, want one request in flight, and that it answered", n)
		}
		_, res, err := tryDial(t, url)
		if err == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
			t.Errorf("another stream = %s, want 503 with Retry-After", textOf(res))
		}
		receives(t, ended, "the refusal")
		_ = conn.Close(websocket.StatusNormalClosure, "")
		receives(t, ended, "the end of the stream")
		if n := rt.Upstream.Nodes()[0]; n.InFlight != 0 {
			t.Errorf("node = %+v, want nothing in flight", n)
		}
	}
}

// fails is a service that ends with an error.
func fails(err error) streamService {
	return func(context.Context, *caller) error { return err }
}

// refuses says why no stream opens.
func refuses(err error) func(*registry.Node, *client.Request) error {
	return func(*registry.Node, *client.Request) error { return err }
}
