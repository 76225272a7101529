// Command registry shows a registry of one's own: services in a directory, a
// JSON file for each node. The gateway follows it like any other.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	dir, err := os.MkdirTemp("", "services")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // else the system does, some day
	reg := &Directory{Path: dir}

	greeter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello from a service, which sees ", r.URL.Path)
	}))
	defer greeter.Close()
	err = reg.Register(ctx, &registry.Service{
		Name:  "greeter",
		Nodes: []*registry.Node{{ID: "greeter-1", Address: greeter.Listener.Addr().String()}},
		Endpoints: []*registry.Endpoint{{Name: "Hello", Metadata: map[string]string{
			"handler": "http", "method": "GET", "path": "/hello/{name}",
		}}},
	}, time.Minute)
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

	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	fmt.Println("files in the directory:", len(files))
	w := httptest.NewRecorder()
	gateway.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/hello/john", nil))
	fmt.Println(w.Code, w.Body)

	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
