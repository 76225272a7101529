package handler_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
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
		{"no stream of its protocol", client.ByProtocol{"mucp": answer("{}")}, nil, 502},
		{"foreign", client.ByProtocol{"other": memory{}}, nil, 502},
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
		if n := rt.Upstream.Nodes()[0]; n.InFlight != 1 || n.Latency != 0 {
			t.Errorf("node = %+v, want one request in flight, and no latency of a stream", n)
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

// TestStreamTellsOfItsNode: that a stream is open says nothing of its node. What
// comes first does, unless the client left before.
func TestStreamTellsOfItsNode(t *testing.T) {
	const well = upstream.Reason("")
	late := func(_ context.Context, c *caller) error {
		if err := c.say("1"); err != nil {
			return err
		}
		return io.ErrUnexpectedEOF
	}
	tests := []struct {
		name    string
		service streamService   // nil is one that is silent until the client leaves
		healthy upstream.Reason // after five streams of a node that was well
		ejected upstream.Reason // after one of a node that was ejected
	}{
		{"a message", says("1"), well, well},
		{"the end", says(), well, well},
		{"breaks off", fails(io.ErrUnexpectedEOF), upstream.Failing, upstream.Failing},
		{"breaks off behind a message", late, well, well},
		{"its own error", fails(&goapi.Error{Code: 404, ID: "greeter.none"}), well, well},
		{"cannot serve", fails(&goapi.Error{Code: 503, ID: "greeter.busy"}), upstream.Failing, upstream.Failing},
		{"nothing", nil, well, upstream.Failing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rt := streamRoute()
			for range 5 {
				streamOnce(t, rt, tt.service)
			}
			if got := rt.Upstream.Nodes()[0].Ejected; got != tt.healthy {
				t.Errorf("a node that was well is %q, want %q", got, tt.healthy)
			}
			rt = streamRoute()
			for range 5 {
				_ = rt.Upstream.Do(t.Context(), upstream.Call{}, func(_ context.Context, try *upstream.Try) error {
					try.Sent()
					return io.EOF
				})
			}
			streamOnce(t, rt, tt.service)
			if got := rt.Upstream.Nodes()[0].Ejected; got != tt.ejected {
				t.Errorf("a node that was ejected is %q, want %q", got, tt.ejected)
			}
		})
	}
}

// streamOnce opens a stream, and leaves it at once if service is nil.
func streamOnce(t *testing.T, rt *goapi.Route, service streamService) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	if service == nil {
		service = func(ctx context.Context, c *caller) error {
			leave()
			return silent(ctx, c)
		}
	}
	askStream(memory{serve: service}, rt, httptest.NewRequestWithContext(ctx, http.MethodGet, "/hello", http.NoBody), asLines)
}

// opening is a streamer of which no stream opens before its context ends.
type opening struct{ callerFunc }

func (opening) Stream(ctx context.Context, _ *registry.Node, req *client.Request) (client.Stream, error) {
	<-ctx.Done()
	return nil, client.CallError(ctx, req, ctx.Err())
}

// TestStreamAskedTimeoutIsNoFault: a client that gives a stream no time to open
// takes no node out.
func TestStreamAskedTimeoutIsNoFault(t *testing.T) {
	rt := streamRoute()
	rt.Upstream = upstream.Static("192.0.2.1:80", "192.0.2.2:80")
	for _, asked := range []string{"1n", "5m"} {
		r := httptest.NewRequest(http.MethodGet, "/hello", http.NoBody)
		r.Header.Set("Grpc-Timeout", asked)
		if w := askStream(opening{}, rt, r, asLines); w.Code != http.StatusGatewayTimeout {
			t.Errorf("answer = %d %s, want 504", w.Code, w.Body)
		}
		for _, n := range rt.Upstream.Nodes() {
			if n.Ejected != "" || n.Failures != 0 {
				t.Errorf("node = %+v, want nothing held against it", n)
			}
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
