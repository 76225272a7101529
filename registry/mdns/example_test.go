package mdns_test

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/mdns"
)

// A service is announced on the network by one registry, and found by another.
func Example() {
	if err := run(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: greeter at 127.0.0.1:9090
}

func run(ctx context.Context) error {
	u, err := url.Parse("mdns:?domain=example")
	if err != nil {
		return err
	}
	here, err := mdns.Open(ctx, u, nil)
	if err != nil {
		return err
	}
	defer here.Close()
	there, err := mdns.Open(ctx, u, nil)
	if err != nil {
		return err
	}
	defer there.Close()

	greeter := &registry.Service{Name: "greeter", Nodes: []*registry.Node{{ID: "greeter-1", Address: "127.0.0.1:9090"}}}
	if err := here.Register(ctx, greeter, 30*time.Second); err != nil {
		return err
	}
	services, err := there.Get(ctx, "greeter")
	if err != nil {
		return err
	}
	for _, s := range services {
		fmt.Println(s.Name, "at", s.Nodes[0].Address)
	}
	return nil
}
