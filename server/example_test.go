package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/goapi-dev/goapi/server"
)

func Example() {
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s, err := server.Listen(ctx, "127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- s.Run(ctx, hello) }()

	rsp, err := http.Get("http://" + s.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(rsp.Body)
	rsp.Body.Close()
	fmt.Println(string(body))

	stop()
	fmt.Println(<-done)
	// Output:
	// hello
	// <nil>
}
