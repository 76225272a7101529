package admin_test

import (
	"context"
	"fmt"
	"net/http/httptest"

	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	reg, pools := new(registry.Memory), upstream.NewPools(nil)
	live := router.NewLive(reg, pools, nil)
	done := make(chan error)
	go func() { done <- live.Run(ctx) }()
	<-live.Ready()
	srv := httptest.NewServer(admin.New(live, pools, &admin.Options{Registry: handler.Registry(reg, nil)}))

	c := admin.NewClient(srv.URL, "")
	err := c.Register(ctx, &registry.Service{
		Name:  "greeter",
		Nodes: []*registry.Node{{ID: "greeter-1", Address: "127.0.0.1:9000"}},
	}, 0)
	fmt.Println(err)
	services, err := reg.Get(ctx, "greeter")
	fmt.Println(services[0].Nodes[0].Address, err)

	srv.Close()
	stop()
	fmt.Println(<-done)
	// Output:
	// <nil>
	// 127.0.0.1:9000 <nil>
	// context canceled
}
