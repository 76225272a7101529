// Command handler shows a handler of one's own: services announce endpoints
// with handler=redirect, and the gateway answers them without calling anybody.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "handler:", err)
		os.Exit(1)
	}
}

// redirect sends clients to where the endpoint's metadata says.
func redirect(w http.ResponseWriter, r *http.Request) error {
	rt := goapi.RouteFrom(r.Context())
	if rt == nil {
		return goapi.ErrNoRoute
	}
	to := rt.Endpoint.Metadata["to"]
	if to == "" {
		return goapi.NewError(http.StatusBadGateway, "endpoint "+rt.Endpoint.Name+" does not say where to", nil)
	}
	http.Redirect(w, r, to+r.PathValue("page"), http.StatusFound)
	return nil
}

func run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	reg := new(registry.Memory)
	err := reg.Register(ctx, &registry.Service{
		Name:  "old-site",
		Nodes: []*registry.Node{{ID: "old-site-1", Address: "127.0.0.1:9000"}},
		Endpoints: []*registry.Endpoint{{Name: "Moved", Metadata: map[string]string{
			"handler": "redirect", "path": "/old/{page=**}", "to": "https://www.example.com/",
		}}},
	}, 0)
	if err != nil {
		return err
	}

	live := router.NewLive(reg, upstream.NewPools(nil), &router.Options{Handlers: []string{"redirect"}})
	gateway := &goapi.Gateway{
		Router:   live,
		Handlers: map[string]http.Handler{"redirect": goapi.HandlerFunc(redirect)},
	}
	done := make(chan error)
	go func() { done <- live.Run(ctx) }()
	<-live.Ready()

	w := httptest.NewRecorder()
	gateway.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/old/docs/start", nil))
	fmt.Println(w.Code, w.Header().Get("Location"))

	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
