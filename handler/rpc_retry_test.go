package handler_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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
// again, and is not held against its node.
func TestRPCServiceErrorIsFinal(t *testing.T) {
	rt := helloRoute()
	rt.Upstream = upstream.Static("192.0.2.1:80", "192.0.2.2:80")
	for _, sent := range []bool{true, false} {
		calls := 0
		c := callerFunc(func(_ context.Context, _ *registry.Node, req *client.Request) (*client.Response, error) {
			calls++
			if sent {
				req.Sent()
			}
			return nil, &goapi.Error{Code: 503, ID: "greeter", Detail: "busy"}
		})
		w := rpc(c, rt, httptest.NewRequest(http.MethodGet, "/hello", nil))
		if w.Code != http.StatusServiceUnavailable || calls != 1 {
			t.Errorf("answer = %d after %d calls, want 503 after 1", w.Code, calls)
		}
		for _, n := range rt.Upstream.Nodes() {
			if n.Failures != 0 || !n.EjectedUntil.IsZero() {
				t.Errorf("node %s has %d failures, want none", n.Node.ID, n.Failures)
			}
		}
	}
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
	for range 3 {
		w := rpc(caller, route("thrift", "thrift"), post("/hello", "", "{}"))
		if w.Code != http.StatusBadGateway {
			t.Errorf("answer = %d, want 502", w.Code)
		}
		golden(t, "rpc/foreign-protocol.json", w.Body.Bytes())
	}
}
