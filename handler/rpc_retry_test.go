package handler_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// TestRPCRetries checks that a call which reached nobody is made elsewhere, and
// what the exchange tells of it.
func TestRPCRetries(t *testing.T) {
	rt := helloRoute()
	rt.Upstream = upstream.Static("192.0.2.1:80", "192.0.2.2:80")
	var nodes []string
	c := callerFunc(func(_ context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
		nodes = append(nodes, n.ID)
		if len(nodes) == 1 {
			return nil, errors.New("refused")
		}
		req.Sent()
		return &client.Response{Body: []byte("{}")}, nil
	})
	rec := httptest.NewRecorder()
	w, r, ex := goapi.NewExchange(rec, post("/hello", "", "{}"))
	goapi.With(rt, handler.RPC(c, nil)).ServeHTTP(w, r)
	if rec.Code != http.StatusOK || len(nodes) != 2 || nodes[0] == nodes[1] {
		t.Fatalf("answer = %d from nodes %v, want 200 from the second of two", rec.Code, nodes)
	}
	if ex.Node != nodes[1] || ex.Attempts != 2 || ex.Upstream <= 0 || ex.Err != nil {
		t.Errorf("exchange = node %s, %d attempts, %v, %v; want %s, 2, a time and no error", ex.Node, ex.Attempts, ex.Upstream, ex.Err, nodes[1])
	}
}

// TestRPCServiceErrorIsFinal checks that what a service answered is not asked
// again, and is held against its node only if it says that it cannot serve.
func TestRPCServiceErrorIsFinal(t *testing.T) {
	tests := []struct {
		code, failures int
		sent           bool
	}{
		{404, 0, true},
		{500, 0, true},
		{502, 1, true},
		{503, 1, true},
		{504, 1, true},
		{503, 0, false},
		{404, 0, false},
	}
	for _, tt := range tests {
		rt := helloRoute()
		rt.Upstream = upstream.Static("192.0.2.1:80", "192.0.2.2:80")
		calls := 0
		c := callerFunc(func(_ context.Context, _ *registry.Node, req *client.Request) (*client.Response, error) {
			calls++
			if tt.sent {
				req.Sent()
			}
			return nil, &goapi.Error{Code: tt.code, ID: "greeter", Detail: "busy"}
		})
		w := rpc(c, rt, httptest.NewRequest(http.MethodGet, "/hello", nil))
		if w.Code != tt.code || calls != 1 {
			t.Errorf("answer = %d after %d calls, want %d after 1", w.Code, calls, tt.code)
		}
		failures := 0
		for _, n := range rt.Upstream.Nodes() {
			failures += n.Failures
		}
		if failures != tt.failures {
			t.Errorf("%d, sent %t: the nodes have %d failures, want %d", tt.code, tt.sent, failures, tt.failures)
		}
	}
}

// TestRPCOwnLimitIsNoFault: an answer that is more than the gateway takes says
// nothing against its node, and one that is no answer does.
func TestRPCOwnLimitIsNoFault(t *testing.T) {
	tests := []struct {
		name, reply string
		want        upstream.Reason
	}{
		{"too large", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"a\":12345}", ""},
		{"garbage", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\n<", upstream.Failing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rt := helloRoute()
			rt.Upstream = upstream.Static(rawService(t, func(c net.Conn, r *bufio.Reader) {
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					_, _ = io.WriteString(c, tt.reply)
				}
			}))
			c := client.NewMicro(&client.Options{MaxReply: 10})
			defer c.Close()
			for range 5 {
				if w := rpc(c, rt, post("/hello", "", "{}")); w.Code != http.StatusBadGateway {
					t.Errorf("answer = %d %s, want 502", w.Code, w.Body)
				}
			}
			if got := rt.Upstream.Nodes()[0].Ejected; got != tt.want {
				t.Errorf("the node is %q, want %q", got, tt.want)
			}
		})
	}
}

// TestRPCTellsTimeOfTry: a node is told how long it has, which is no longer than
// another could be tried after it.
func TestRPCTellsTimeOfTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := helloRoute()
		rt.Upstream = upstream.Static("192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80")
		rt.Policy = &goapi.Policy{Timeout: 5 * time.Second, Upstream: upstream.Policy{TryTimeout: 2 * time.Second}}
		var told []time.Duration
		c := callerFunc(func(ctx context.Context, _ *registry.Node, _ *client.Request) (*client.Response, error) {
			at, _ := ctx.Deadline()
			told = append(told, time.Until(at))
			<-ctx.Done()
			return nil, ctx.Err()
		})
		start := time.Now()
		w := rpc(c, rt, post("/hello", "", "{}"))
		if want := []time.Duration{2 * time.Second, 2 * time.Second, time.Second}; !slices.Equal(told, want) {
			t.Errorf("nodes were told %v, want %v", told, want)
		}
		if took := time.Since(start); w.Code != http.StatusGatewayTimeout || took != 5*time.Second {
			t.Errorf("answer = %d %s after %v, want 504 after 5s", w.Code, w.Body, took)
		}
	})
}

// TestRPCTimeoutBlamesTheNode checks that a node which leaves calls unanswered
// is held to account, though its callers see to the deadline themselves.
func TestRPCTimeoutBlamesTheNode(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := helloRoute()
				rt.Policy = &goapi.Policy{Timeout: 3 * time.Second}
				calls := 0
				c := callerFunc(func(ctx context.Context, _ *registry.Node, req *client.Request) (*client.Response, error) {
					calls++
					if _, ok := ctx.Deadline(); !ok {
						t.Error("the call has no deadline to tell the service")
					}
					req.Sent()
					<-ctx.Done()
					return nil, client.CallError(ctx, req, ctx.Err())
				})
				for n := 1; n <= 5; n++ {
					start := time.Now()
					w := rpc(c, rt, httptest.NewRequest(method, "/hello", nil))
					if got := time.Since(start); w.Code != http.StatusGatewayTimeout || got != 3*time.Second || calls != n {
						t.Errorf("answer = %d after %v and %d calls in all, want 504 after 3s and %d", w.Code, got, calls, n)
					}
				}
				if st := rt.Upstream.Nodes()[0]; st.Failures != 5 || st.EjectedUntil.IsZero() {
					t.Errorf("node = %+v, want 5 failures and an ejection", st)
				}
			})
		})
	}
}

// TestRPCForeignProtocol checks that a node which this gateway cannot call costs
// no request while another can be, and that it is left alone for a while.
func TestRPCForeignProtocol(t *testing.T) {
	route := func(protocols ...string) *goapi.Route {
		s := &registry.Service{Name: "greeter"}
		for i, p := range protocols {
			s.Nodes = append(s.Nodes, &registry.Node{
				ID: fmt.Sprintf("greeter-%d", i), Address: fmt.Sprintf("192.0.2.%d:80", i+1), Metadata: map[string]string{"protocol": p},
			})
		}
		rt := helloRoute()
		rt.Upstream = upstream.NewPools(nil).Update("greeter", []*registry.Service{s}).All()
		return rt
	}
	asked := 0
	caller := client.ByProtocol{client.ProtocolMicro: answer("{}")}
	counted := callerFunc(func(ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
		asked++
		return caller.Call(ctx, n, req)
	})
	rt := route("mucp", "http")
	for range 50 {
		if w := rpc(counted, rt, post("/hello", "", "{}")); w.Code != http.StatusOK {
			t.Fatalf("answer = %d %s, want 200", w.Code, w.Body)
		}
	}
	if asked > 52 { // a slow machine may come to the end of an ejection
		t.Errorf("%d calls for 50 requests, want the node left alone", asked)
	}
	for _, st := range rt.Upstream.Nodes() {
		if got, want := st.EjectedUntil.IsZero(), st.Node.ID == "greeter-0"; got != want {
			t.Errorf("node %s is well: %t, want %t", st.Node.ID, got, want)
		}
	}
	rt = route("http", "mucp", "http") // the caller itself says whom it can call
	for range 50 {
		if w := rpc(caller, rt, post("/hello", "", "{}")); w.Code != http.StatusOK {
			t.Fatalf("answer = %d %s, want 200", w.Code, w.Body)
		}
	}
	rt = route("thrift", "thrift")
	for range 3 {
		w := rpc(caller, rt, post("/hello", "", "{}"))
		if w.Code != http.StatusBadGateway {
			t.Errorf("answer = %d, want 502", w.Code)
		}
		golden(t, "rpc/foreign-protocol.json", w.Body.Bytes())
	}
	for _, st := range rt.Upstream.Nodes() {
		if !st.EjectedUntil.IsZero() {
			t.Errorf("node %s is ejected for what it speaks", st.Node.ID)
		}
	}
}

// TestRPCIdempotencyKey checks that a call which its client can repeat is made
// again where it broke off, and no other is.
func TestRPCIdempotencyKey(t *testing.T) {
	handlers := map[string]func(client.Caller) http.Handler{
		"rpc": func(c client.Caller) http.Handler { return handler.RPC(c, nil) },
		"api": func(c client.Caller) http.Handler { return handler.API(c, nil) },
	}
	for keys, again := range map[string]bool{"": false, "k1": true, "k1,k2": false, ",": false} {
		for name, h := range handlers {
			rt := helloRoute()
			rt.Upstream = upstream.Static("192.0.2.1:80", "192.0.2.2:80")
			calls := 0
			c := callerFunc(func(_ context.Context, _ *registry.Node, req *client.Request) (*client.Response, error) {
				calls++
				if got := req.Header["Idempotency-Key"]; again && got != keys {
					t.Errorf("the service gets the key %q, want %q", got, keys)
				}
				req.Sent()
				return nil, errors.New("broke off")
			})
			r := post("/hello", "application/json", "{}")
			for key := range strings.SplitSeq(keys, ",") {
				if keys != "" {
					r.Header.Add("Idempotency-Key", key)
				}
			}
			goapi.With(rt, h(c)).ServeHTTP(httptest.NewRecorder(), r)
			if got := calls > 1; got != again {
				t.Errorf("%s: %d calls with the keys %q, want another: %t", name, calls, keys, again)
			}
		}
	}
}

// TestRPCAskedTimeout checks that a client may ask for less time than there is,
// and that no node is blamed for it.
func TestRPCAskedTimeout(t *testing.T) {
	tests := []struct {
		asked []string
		want  time.Duration // 0 is 400
	}{
		{nil, 5 * time.Second},
		{[]string{"2S"}, 2 * time.Second},
		{[]string{"1500m"}, 1500 * time.Millisecond},
		{[]string{"1M"}, 5 * time.Second},
		{[]string{"99999999H"}, 5 * time.Second},
		{[]string{"0S"}, 0},
		{[]string{"2s"}, 0},
		{[]string{"2"}, 0},
		{[]string{""}, 0},
		{[]string{"-2S"}, 0},
		{[]string{"123456789S"}, 0},
		{[]string{"2S", "2S"}, 0},
	}
	for _, tt := range tests {
		for _, name := range []string{"rpc", "api"} {
			synctest.Test(t, func(t *testing.T) {
				rt := helloRoute()
				rt.Policy = &goapi.Policy{Timeout: 5 * time.Second}
				c := callerFunc(func(ctx context.Context, _ *registry.Node, req *client.Request) (*client.Response, error) {
					if deadline, _ := ctx.Deadline(); time.Until(deadline) != tt.want {
						t.Errorf("Grpc-Timeout %q: the service is given %v, want %v", tt.asked, time.Until(deadline), tt.want)
					}
					req.Sent()
					<-ctx.Done()
					return nil, client.CallError(ctx, req, ctx.Err())
				})
				h := handler.RPC(c, nil)
				if name == "api" {
					h = handler.API(c, nil)
				}
				r := post("/hello", "", "{}")
				if tt.asked != nil {
					r.Header["Grpc-Timeout"] = tt.asked
				}
				start, w := time.Now(), httptest.NewRecorder()
				goapi.With(rt, h).ServeHTTP(w, r)
				want := http.StatusGatewayTimeout
				if tt.want == 0 {
					want = http.StatusBadRequest
				}
				if got := time.Since(start); w.Code != want || got != tt.want {
					t.Errorf("%s, Grpc-Timeout %q: answer = %d after %v, want %d after %v", name, tt.asked, w.Code, got, want, tt.want)
				}
				if n := rt.Upstream.Nodes()[0].Failures; tt.want < 5*time.Second && n != 0 {
					t.Errorf("%s, Grpc-Timeout %q: the node has %d failures, want none", name, tt.asked, n)
				}
			})
		}
	}
}

// TestRPCOverloaded checks the answer to what a service has no room for.
func TestRPCOverloaded(t *testing.T) {
	rt := helloRoute()
	rt.Policy = &goapi.Policy{Upstream: upstream.Policy{MaxInFlight: 1}}
	var inner *httptest.ResponseRecorder
	c := callerFunc(func(_ context.Context, _ *registry.Node, req *client.Request) (*client.Response, error) {
		inner = rpc(answer("{}"), rt, post("/hello", "", "{}"))
		req.Sent()
		return &client.Response{Body: []byte("{}")}, nil
	})
	if w := rpc(c, rt, post("/hello", "", "{}")); w.Code != http.StatusOK {
		t.Errorf("answer = %d %s, want 200", w.Code, w.Body)
	}
	if inner.Code != http.StatusServiceUnavailable || inner.Header().Get("Retry-After") != "1" {
		t.Errorf("answer to one more = %d %v, want 503 with Retry-After", inner.Code, inner.Header())
	}
	golden(t, "rpc/overloaded.json", inner.Body.Bytes())
}
