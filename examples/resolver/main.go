// Command resolver shows a resolver of one's own: it names the service of a
// request by a header, as an old gateway may have done.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/resolver"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "resolver:", err)
		os.Exit(1)
	}
}

// byHeader is a resolver.Resolver: the header X-Service names the service.
func byHeader(r *http.Request) ([]resolver.Target, error) {
	name := r.Header.Get("X-Service")
	if name == "" {
		return nil, nil // nothing is named: 404
	}
	return []resolver.Target{{Service: name, Kind: resolver.Proxy}}, nil
}

func run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "the shop, asked for ", r.URL.Path)
	}))
	defer shop.Close()
	reg := new(registry.Memory)
	err := reg.Register(ctx, &registry.Service{
		Name:  "shop",
		Nodes: []*registry.Node{{ID: "shop-1", Address: shop.Listener.Addr().String()}},
	}, 0)
	if err != nil {
		return err
	}

	live := router.NewLive(reg, upstream.NewPools(nil), &router.Options{Resolver: byHeader})
	gateway := &goapi.Gateway{
		Router:   live,
		Handlers: map[string]http.Handler{"http": handler.HTTP(nil)},
	}
	done := make(chan error)
	go func() { done <- live.Run(ctx) }()
	<-live.Ready()

	for _, name := range []string{"shop", "nosuch"} {
		r := httptest.NewRequest(http.MethodGet, "/basket", nil)
		r.Header.Set("X-Service", name)
		w := httptest.NewRecorder()
		gateway.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}

	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
