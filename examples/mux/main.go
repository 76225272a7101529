// Command mux shows the gateway as one handler among others: what the program
// serves itself, and under /api/ what services announce.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "mux:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	greeter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello from a service, which sees ", r.URL.Path)
	}))
	defer greeter.Close()
	reg := new(registry.Memory)
	err := reg.Register(ctx, &registry.Service{
		Name:  "greeter",
		Nodes: []*registry.Node{{ID: "greeter-1", Address: greeter.Listener.Addr().String()}},
		Endpoints: []*registry.Endpoint{{Name: "Hello", Metadata: map[string]string{
			"handler": "http", "method": "GET", "path": "/hello/{name}",
		}}},
	}, 0)
	if err != nil {
		return err
	}

	live := router.NewLive(reg, upstream.NewPools(nil), nil)
	gateway := &goapi.Gateway{
		Router:   live,
		Handlers: map[string]http.Handler{"http": handler.HTTP(nil)},
	}
	done := make(chan error)
	go func() { done <- live.Run(ctx) }()
	<-live.Ready()

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "the program's own page") })
	mux.Handle("/api/", http.StripPrefix("/api", gateway))
	own := httptest.NewServer(mux)
	defer own.Close()

	for _, path := range []string{"/", "/api/hello/john"} {
		body, err := get(ctx, own.URL+path)
		if err != nil {
			return err
		}
		fmt.Println(path, "→", body)
	}

	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	return string(b), err
}
