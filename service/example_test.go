package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/service"
)

// A service with one method and its route. A gateway that reads the same
// registry routes GET /hello/{name} to it; here it is called by hand.
func ExampleService() {
	type Request struct {
		Name string `json:"name"`
	}
	type Response struct {
		Message string `json:"message"`
	}
	hello := func(_ context.Context, req *Request) (*Response, error) {
		return &Response{Message: "hello " + req.Name}, nil
	}

	reg := new(registry.Memory)
	greeter := service.New("greeter", &service.Options{Registry: reg})
	greeter.Handle("Greeter.Hello", service.Method(hello), &goapi.Endpoint{
		Method: []string{"GET"}, Path: []string{"/hello/{name}"},
	})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error)
	go func() { done <- greeter.Run(ctx) }()

	node := find(reg, "greeter")
	micro := client.NewMicro(nil)
	defer micro.Close()
	res, err := micro.Call(ctx, node, &client.Request{
		Service: "greeter", Endpoint: "Greeter.Hello",
		ContentType: "application/json", Body: []byte(`{"name":"john"}`),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(res.Body))

	stop()
	fmt.Println(<-done)
	// Output:
	// {"message":"hello john"}
	// <nil>
}

// A method that streams: it greets whoever it hears of, until its caller has no
// more to say.
func ExampleStreamMethod() {
	type Request struct {
		Name string `json:"name"`
	}
	type Response struct {
		Message string `json:"message"`
	}
	greet := func(_ context.Context, s *service.Stream[Request, Response]) error {
		for {
			req, err := s.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := s.Send(&Response{Message: "hello " + req.Name}); err != nil {
				return err
			}
		}
	}

	greeter := service.New("greeter", nil)
	greeter.Handle("Greeter.Greet", service.StreamMethod(greet), nil)
	server := httptest.NewServer(greeter) // Run does this, and announces it
	defer server.Close()

	micro := client.NewMicro(nil)
	defer micro.Close()
	stream, err := micro.Stream(context.Background(), &registry.Node{Address: server.Listener.Addr().String()}, &client.Request{
		Service: "greeter", Endpoint: "Greeter.Greet", ContentType: "application/json",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stream.Close()
	for _, msg := range []string{`{"name":"john"}`, `{"name":"jane"}`} {
		if err := stream.Send([]byte(msg)); err != nil {
			fmt.Println(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		fmt.Println(err)
	}
	for {
		msg, err := stream.Recv()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Print(string(msg))
	}
	// Output:
	// {"message":"hello john"}
	// {"message":"hello jane"}
	// EOF
}

// find waits for a node of the named service.
func find(reg registry.Reader, name string) *registry.Node {
	w, err := reg.Watch(context.Background())
	if err != nil {
		return nil
	}
	defer w.Close()
	for {
		services, err := w.Next(context.Background())
		if err != nil {
			return nil
		}
		for _, s := range services {
			if s.Name == name {
				return s.Nodes[0]
			}
		}
	}
}
