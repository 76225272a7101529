package handler_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
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

const asForm = "application/x-www-form-urlencoded"

// greeters finds the service greeter, which has two nodes, and idle, which has
// none.
func greeters() func(string) *upstream.Set {
	pools := upstream.NewPools(nil)
	pools.Update("greeter", []*registry.Service{{Name: "greeter", Nodes: []*registry.Node{
		{ID: "greeter-1", Address: "192.0.2.1:80"},
		{ID: "greeter-2", Address: "192.0.2.2:80", Metadata: map[string]string{"protocol": "grpc"}},
	}}})
	pools.Update("idle", []*registry.Service{{Name: "idle"}})
	return func(service string) *upstream.Set {
		if p := pools.Pool(service); p != nil {
			return p.All()
		}
		return nil
	}
}

func TestCall(t *testing.T) {
	tests := []struct {
		name, contentType, body string
		want                    string // service, endpoint and message
	}{
		{"form", asForm, `service=greeter&method=Greeter.Hello&request={"name":"John"}`, `greeter Greeter.Hello {"name":"John"}`},
		{"form with endpoint", asForm, `service=greeter&endpoint=Greeter.Hello&request=%7B%7D`, `greeter Greeter.Hello {}`},
		{"form without request", asForm, `service=greeter&method=Greeter.Hello`, `greeter Greeter.Hello {}`},
		{"object", "application/json", `{"service":"greeter","method":"Greeter.Hello","request":{"name": "John"}}`, `greeter Greeter.Hello {"name": "John"}`},
		{"text", "application/json", `{"service":"greeter","endpoint":"Greeter.Hello","request":"{\"name\":\"John\"}"}`, `greeter Greeter.Hello {"name":"John"}`},
		{"no content type", "", `{"service":"greeter","endpoint":"Greeter.Hello"}`, `greeter Greeter.Hello {}`},
		{"null", "application/json", `{"service":"greeter","endpoint":"Greeter.Hello","request":null}`, `greeter Greeter.Hello {}`},
		{"empty text", "application/json", `{"service":"greeter","endpoint":"Greeter.Hello","request":""}`, `greeter Greeter.Hello {}`},
		{"list", "application/json", `{"service":"greeter","endpoint":"Greeter.Hello","request":[1]}`, `greeter Greeter.Hello [1]`},
		{"endpoint before method", "application/json", `{"service":"greeter","endpoint":"A.B","method":"C.D"}`, `greeter A.B {}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &recorder{reply: `{"message":"hello"}`}
			w := httptest.NewRecorder()
			r := post("/rpc", tt.contentType, tt.body)
			r.Header.Set("Authorization", "Bearer admin")
			handler.Call(greeters(), c, nil).ServeHTTP(w, r)
			if w.Code != http.StatusOK || w.Body.String() != `{"message":"hello"}` || w.Header().Get("Content-Type") != "application/json" {
				t.Fatalf("answer = %d %s, want 200 and the reply", w.Code, w.Body)
			}
			got := c.calls[0]
			if s := got.Service + " " + got.Endpoint + " " + string(got.Body); s != tt.want || got.ContentType != "application/json" {
				t.Errorf("called %s, want %s", s, tt.want)
			}
			if len(got.Header) != 0 {
				t.Errorf("metadata = %v, want none: the operator's headers are for the gateway", got.Header)
			}
		})
	}
}

func TestCallErrors(t *testing.T) {
	call := func(body string) *http.Request { return post("/rpc", "application/json", body) }
	tests := []struct {
		name   string
		caller client.Caller
		req    *http.Request
		want   int
	}{
		{"get", nil, httptest.NewRequest(http.MethodGet, "/rpc?service=greeter&method=Greeter.Hello", nil), 405},
		{"content type", nil, post("/rpc", "application/protobuf", ""), 415},
		{"unknown content type", nil, post("/rpc", "text/plain", "{}"), 415},
		{"not JSON", nil, call(`{`), 400},
		{"empty", nil, call(``), 400},
		{"no object", nil, call(`[]`), 400},
		{"no text", nil, call(`{"service":7}`), 400},
		{"no service", nil, call(`{"method":"Greeter.Hello"}`), 400},
		{"no method", nil, call(`{"service":"greeter"}`), 400},
		{"misspelt", nil, call(`{"service":"greeter","method":"Greeter.Hello","addr":"192.0.2.1:80"}`), 400},
		{"misspelt form", nil, post("/rpc", asForm, "service=greeter&method=Greeter.Hello&addr=192.0.2.1:80"), 400},
		{"bad form", nil, post("/rpc", asForm, "service=%"), 400},
		{"bad request", nil, call(`{"service":"greeter","method":"Greeter.Hello","request":"{"}`), 400},
		{"bad form request", nil, post("/rpc", asForm, "service=greeter&method=Greeter.Hello&request=hello"), 400},
		{"too large", nil, call(strings.Repeat(" ", 2000) + `{}`), 413},
		{"unknown service", nil, call(`{"service":"nobody","method":"Greeter.Hello"}`), 404},
		{"unknown node", nil, call(`{"service":"greeter","method":"Greeter.Hello","address":"169.254.169.254:80"}`), 404},
		{"no nodes", nil, call(`{"service":"idle","method":"Greeter.Hello"}`), 503},
		{"unreachable", failure(errors.New("refused"), false), call(`{"service":"greeter","method":"Greeter.Hello"}`), 502},
		{"unreachable node", failure(errors.New("refused"), false), call(`{"service":"greeter","method":"Greeter.Hello","address":"192.0.2.1:80"}`), 502},
		{"service error", failure(&goapi.Error{Code: 418, ID: "greeter.tea", Detail: "I am a teapot"}, true), call(`{"service":"greeter","method":"Greeter.Hello"}`), 418},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.caller
			if c == nil {
				c = callerFunc(func(context.Context, *registry.Node, *client.Request) (*client.Response, error) {
					t.Error("a service was called")
					return nil, errors.New("called")
				})
			}
			w := httptest.NewRecorder()
			h := handler.Call(greeters(), c, &handler.CallOptions{Policy: &goapi.Policy{MaxBody: 1000}})
			h.ServeHTTP(w, tt.req)
			if w.Code != tt.want {
				t.Errorf("status = %d, want %d", w.Code, tt.want)
			}
			golden(t, "call/"+strings.ReplaceAll(tt.name, " ", "-")+".json", w.Body.Bytes())
		})
	}
}

func TestCallAddress(t *testing.T) {
	for address, want := range map[string]string{"192.0.2.1:80": "greeter-1", "192.0.2.2:80": "greeter-2"} {
		var got *registry.Node
		c := callerFunc(func(_ context.Context, n *registry.Node, _ *client.Request) (*client.Response, error) {
			got = n
			return &client.Response{Body: []byte("{}")}, nil
		})
		w, r, ex := goapi.NewExchange(httptest.NewRecorder(), post("/rpc", asForm, "service=greeter&method=Greeter.Hello&address="+address))
		handler.Call(greeters(), c, nil).ServeHTTP(w, r)
		if got == nil || got.ID != want || ex.Node != want {
			t.Errorf("address %s: called %v, exchange has %q, want %s", address, got, ex.Node, want)
		}
	}
}

func TestCallTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, address := range []string{"", "192.0.2.1:80"} {
			start := time.Now()
			w := httptest.NewRecorder()
			c := callerFunc(func(ctx context.Context, _ *registry.Node, _ *client.Request) (*client.Response, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			h := handler.Call(greeters(), c, &handler.CallOptions{Policy: &goapi.Policy{Timeout: time.Second}})
			h.ServeHTTP(w, post("/rpc", asForm, "service=greeter&method=Greeter.Hello&address="+address))
			if got := time.Since(start); w.Code != http.StatusGatewayTimeout || got != time.Second {
				t.Errorf("answer = %d after %v, want 504 after 1s", w.Code, got)
			}
		}
	})
}

// FuzzCall checks that what a client sends is refused or called, and that what
// is called is JSON.
func FuzzCall(f *testing.F) {
	f.Add(true, `service=greeter&method=Greeter.Hello&request={}`)
	f.Add(false, `{"service":"greeter","method":"Greeter.Hello","request":"[1]"}`)
	f.Add(false, `{"service":"greeter","method":"Greeter.Hello","request":{"a":"\ud800"}}`)
	f.Fuzz(func(t *testing.T, form bool, body string) {
		contentType := "application/json"
		if form {
			contentType = asForm
		}
		c := &recorder{reply: "{}"}
		w := httptest.NewRecorder()
		handler.Call(greeters(), c, nil).ServeHTTP(w, post("/rpc", contentType, body))
		if called := len(c.calls) == 1; called != (w.Code == http.StatusOK) || w.Code == http.StatusInternalServerError {
			t.Fatalf("%q: %d with %d calls", body, w.Code, len(c.calls))
		}
		if len(c.calls) == 0 {
			return
		}
		if _, ok := decode(string(c.calls[0].Body)); !ok || c.calls[0].Service != "greeter" || c.calls[0].Endpoint == "" {
			t.Fatalf("%q: called with %+v", body, c.calls[0])
		}
	})
}
