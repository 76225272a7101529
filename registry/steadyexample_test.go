package registry_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// A process that starts while its registry is away knows what it knew before.
func ExampleSteady() {
	dir, err := os.MkdirTemp("", "steady")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	opts := &registry.SteadyOptions{Name: "shared", Path: filepath.Join(dir, "services"), Wait: time.Millisecond}

	// follow tells the first state, and whether the registry said so.
	follow := func(source registry.Reader) {
		steady := registry.NewSteady(source, opts)
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { _ = steady.Run(ctx) }) // keeps the snapshot
		defer running.Wait()
		defer stop()
		watcher, err := steady.Watch(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer watcher.Close()
		services, err := watcher.Next(ctx)
		status := steady.Status()
		fmt.Println(len(services), err, "contact:", status.Contact, "snapshot:", status.Snapshot)
	}

	var shared registry.Memory
	greeter := &registry.Service{Name: "greeter", Nodes: []*registry.Node{{ID: "greeter-1", Address: "10.0.0.1:9090"}}}
	if err := shared.Register(context.Background(), greeter, 0); err != nil {
		fmt.Println(err)
		return
	}
	follow(&shared)
	follow(hanging{}) // a registry that does not answer
	// Output:
	// 1 <nil> contact: true snapshot: false
	// 1 <nil> contact: false snapshot: true
}
