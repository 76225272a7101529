package nats_test

import (
	"context"
	"fmt"
	"net/url"
	"os"

	"github.com/goapi-dev/goapi/nats"
)

// Two parts of a program share a connection to the server within it.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "nats")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	server, err := nats.Start(ctx, dir, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	conns := &nats.Conns{Embedded: server}
	u := &url.URL{Scheme: "embedded"}
	one, err := conns.Open(ctx, u)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer one.Close()
	other, err := conns.Open(ctx, u)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer other.Close()
	fmt.Println(one.Conn == other.Conn, one.IsConnected())
	// Output: true true
}
