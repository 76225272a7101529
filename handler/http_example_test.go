package handler_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/coder/websocket"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// A service that speaks plain HTTP, behind a prefix that it knows nothing of.
func ExampleHTTP() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s for %s", r.Method, r.RequestURI, r.Host)
	}))
	defer service.Close()

	gw := goapi.With(&goapi.Route{
		Service:  "shop",
		Endpoint: &goapi.Endpoint{Name: "Shop", Handler: "http", Path: []string{"/shop/**"}, Strip: "/shop"},
		Upstream: upstream.Static(service.Listener.Addr().String()),
	}, handler.HTTP(nil))

	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "http://goapi.test/shop/items?id=1", http.NoBody)
	gw.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output: 200 GET /items?id=1 for goapi.test
}

// A chat over WebSocket, which only pages of example.com may join.
func ExampleWeb() {
	chat := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}, InsecureSkipVerify: true}) // the gateway verifies
		if err != nil {
			return
		}
		_, text, _ := c.Read(r.Context())
		_ = c.Write(r.Context(), websocket.MessageText, append([]byte("welcome, "), text...))
		_ = c.Close(websocket.StatusNormalClosure, "bye")
	}))
	defer chat.Close()

	gw := httptest.NewServer(goapi.With(&goapi.Route{
		Service:  "chat",
		Endpoint: &goapi.Endpoint{Name: "Chat", Handler: "web", Path: []string{"/chat"}},
		Upstream: upstream.Static(chat.Listener.Addr().String()),
	}, handler.Web(&handler.WebOptions{Origins: []string{"https://*.example.com"}})))
	defer gw.Close()

	join := func(origin string) {
		ctx := context.Background()
		c, resp, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(gw.URL, "http")+"/chat", &websocket.DialOptions{
			HTTPHeader: http.Header{"Origin": {origin}}, Subprotocols: []string{"chat"},
		})
		if err != nil {
			fmt.Println(origin, resp.StatusCode)
			return
		}
		defer c.CloseNow()
		_ = c.Write(ctx, websocket.MessageText, []byte("john"))
		_, text, _ := c.Read(ctx)
		_, _, err = c.Read(ctx)
		fmt.Println(origin, c.Subprotocol(), string(text), websocket.CloseStatus(err))
	}
	join("https://www.example.com")
	join("https://elsewhere.test")
	// Output:
	// https://www.example.com chat welcome, john StatusNormalClosure
	// https://elsewhere.test 403
}

// Announce a service and find it again.
func ExampleRegistry() {
	h := handler.Registry(new(registry.Memory), nil)
	do := func(method, target, body string) {
		r := httptest.NewRequestWithContext(context.Background(), method, target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	do(http.MethodPost, "/registry?ttl=30s", `{"name":"greeter","nodes":[{"id":"greeter-1","address":"10.0.0.1:9000"}]}`)
	do(http.MethodGet, "/registry?service=greeter", "")
	do(http.MethodPost, "/registry", `{"name":"greeter","nodes":[{"id":"greeter-1","address":"169.254.0.1:9000"}]}`)
	// Output:
	// 200 {}
	// 200 [{"name":"greeter","version":"","metadata":null,"endpoints":null,"nodes":[{"id":"greeter-1","address":"10.0.0.1:9000","metadata":null}]}]
	// 400 {"id":"goapi","code":400,"detail":"nodes[0].address: \"169.254.0.1:9000\" is a link-local address","status":"Bad Request"}
}
