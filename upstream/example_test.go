package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

func ExampleSet_Do() {
	pools := upstream.NewPools(nil)
	pool := pools.Update("greeter", []*registry.Service{
		{Name: "greeter", Version: "1", Nodes: []*registry.Node{
			{ID: "greeter-1", Address: "10.0.0.1:8080"},
			{ID: "greeter-2", Address: "10.0.0.2:8080"},
		}},
	})
	call := func(_ context.Context, t *upstream.Try) error {
		if t.Node.ID == "greeter-1" {
			return errors.New("connection refused") // nothing was sent: another node is tried
		}
		t.Sent() // the connection is there
		fmt.Println("hello from", t.Node.ID)
		t.Answered()
		return nil
	}
	for range 3 {
		if err := pool.All().Do(context.Background(), upstream.Call{}, call); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// hello from greeter-2
	// hello from greeter-2
	// hello from greeter-2
}

func ExamplePool_Set() {
	v1 := &registry.Service{Name: "greeter", Version: "1", Nodes: []*registry.Node{{ID: "a", Address: "10.0.0.1:80"}}}
	v2 := &registry.Service{Name: "greeter", Version: "2", Nodes: []*registry.Node{{ID: "b", Address: "10.0.0.2:80"}}}

	pools := upstream.NewPools(nil)
	pool := pools.Update("greeter", []*registry.Service{v1})
	set := pool.Set("not 2", func(s *registry.Service) bool { return s.Version != "2" })
	pools.Update("greeter", []*registry.Service{v1, v2})

	fmt.Println(set.Len(), "of", pool.All().Len())
	// Output: 1 of 2
}

func ExampleCall_canary() {
	pools := upstream.NewPools(nil)
	pool := pools.Update("greeter", []*registry.Service{
		{Name: "greeter", Version: "1", Nodes: []*registry.Node{{ID: "old", Address: "10.0.0.1:80"}}},
		{Name: "greeter", Version: "2", Nodes: []*registry.Node{
			{ID: "new", Address: "10.0.0.2:80", Metadata: map[string]string{"canary": "true"}},
		}},
	})
	for _, h := range []http.Header{{}, {"X-Canary": {"true"}}} {
		_ = pool.All().Do(context.Background(), upstream.Call{Header: h}, func(_ context.Context, t *upstream.Try) error {
			fmt.Println(t.Node.ID)
			return nil
		})
	}
	// Output:
	// old
	// new
}
