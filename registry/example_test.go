package registry_test

import (
	"context"
	"fmt"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// A service announces itself, and a watcher sees it come and go.
func ExampleMemory() {
	ctx := context.Background()
	var reg registry.Memory
	watcher, err := reg.Watch(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer watcher.Close()

	greeter := &registry.Service{
		Name:    "greeter",
		Version: "1.0.0",
		Endpoints: []*registry.Endpoint{{
			Name:     "Greeter.Hello",
			Metadata: map[string]string{"handler": "rpc", "method": "GET", "path": "/hello/{name}"},
		}},
		Nodes: []*registry.Node{{ID: "greeter-1", Address: "127.0.0.1:9090"}},
	}
	show := func() {
		services, err := watcher.Next(ctx)
		fmt.Println(len(services), err)
	}
	show()
	fmt.Println(reg.Register(ctx, greeter, 30*time.Second))
	show()
	fmt.Println(reg.Deregister(ctx, greeter))
	show()
	// Output:
	// 0 <nil>
	// <nil>
	// 1 <nil>
	// <nil>
	// 0 <nil>
}

// A registry that is kept in a store puts each record under its key.
func ExampleRecords() {
	var records registry.Records
	for key, value := range map[string]string{
		"greeter/1": `{"name":"greeter","version":"latest","nodes":[{"id":"1","address":"10.0.0.1:9090"}]}`,
		"greeter/2": `{"name":"greeter","version":"latest","nodes":[{"id":"2","address":"10.0.0.2","port":9090}]}`,
	} {
		if err := records.Put(key, []byte(value)); err != nil {
			fmt.Println(err)
		}
	}
	for _, s := range records.Services() {
		fmt.Println(s.Name, s.Version, s.Nodes[0].Address, s.Nodes[1].Address)
	}
	// Output: greeter latest 10.0.0.1:9090 10.0.0.2:9090
}

// What the first registry says takes precedence over the second.
func ExampleMulti() {
	ctx := context.Background()
	var local, shared registry.Memory
	announce := func(r registry.Writer, node, address string) {
		err := r.Register(ctx, &registry.Service{
			Name:  "greeter",
			Nodes: []*registry.Node{{ID: node, Address: address}},
		}, 0)
		if err != nil {
			fmt.Println(err)
		}
	}
	announce(&local, "greeter-1", "127.0.0.1:9090")
	announce(&shared, "greeter-1", "10.0.0.1:9090")
	announce(&shared, "greeter-2", "10.0.0.2:9090")

	both := registry.NewMulti([]registry.Member{{Name: "local", Reader: &local}, {Name: "shared", Reader: &shared}}, nil)
	services, err := both.Get(ctx, "greeter")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range services {
		fmt.Println(s.Nodes[0].ID, s.Nodes[0].Address)
	}
	// Output:
	// greeter-1 127.0.0.1:9090
	// greeter-2 10.0.0.2:9090
}

func ExampleDiff() {
	greeter, orders := &registry.Service{Name: "greeter"}, &registry.Service{Name: "orders"}
	moved := &registry.Service{Name: "greeter", Nodes: []*registry.Node{{ID: "greeter-1"}}}
	for _, c := range registry.Diff([]*registry.Service{greeter}, []*registry.Service{moved, orders}) {
		fmt.Println(c.Name, len(c.Old), len(c.New))
	}
	// Output:
	// greeter 1 1
	// orders 0 1
}
