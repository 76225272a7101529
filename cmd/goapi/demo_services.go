package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
)

// The sample services of goapi demo: one speaks RPC, one HTTP, one gRPC, and
// one is sent events. None knows of the gateway; each is announced as a
// stranger's would be.

// helloRequest and helloReply are the messages of Greeter.Hello.
type helloRequest struct {
	Name string `json:"name"`
}

type helloReply struct {
	Message string `json:"message"`
}

func hello(_ context.Context, req *helloRequest) (*helloReply, error) {
	return &helloReply{Message: "hello " + req.Name}, nil
}

// clockHandler is a plain HTTP service.
func clockHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /clock/ticks", ticks)
	mux.HandleFunc("POST /clock/echo", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body) // the client is gone; nobody to tell
	})
	mux.HandleFunc("GET /clock", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "it is %s\n", time.Now().Format(time.TimeOnly))
	})
	return mux
}

// ticks sends an event each second until the client leaves.
func ticks(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for now := time.Now(); ; {
		if _, err := fmt.Fprintf(w, "data: %s\n\n", now.Format(time.TimeOnly)); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case now = <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// clockEndpoints is what the clock announces.
func clockEndpoints() []*goapi.Endpoint {
	return []*goapi.Endpoint{
		{Name: "Now", Method: []string{"GET"}, Path: []string{"/clock"}},
		{Name: "Ticks", Method: []string{"GET"}, Path: []string{"/clock/ticks"}},
		{Name: "Echo", Method: []string{"POST"}, Path: []string{"/clock/echo"}},
	}
}

// mailerHandler is a service that gets events, and tells what it got.
func mailerHandler() http.Handler {
	orders := make(chan string, 100) // not yet told; further ones are dropped
	mux := http.NewServeMux()
	mux.HandleFunc("POST /on-order", func(w http.ResponseWriter, r *http.Request) {
		var event struct{ Data string } // what the handler event publishes
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&event); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case orders <- event.Data:
		default:
		}
	})
	mux.HandleFunc("GET /mailer/orders", func(w http.ResponseWriter, r *http.Request) {
		select {
		case order := <-orders:
			fmt.Fprintf(w, "mailed: %s\n", order)
		case <-time.After(5 * time.Second):
			fmt.Fprintln(w, "no order in the last seconds: publish one, and ask again")
		case <-r.Context().Done():
		}
	})
	return mux
}

// mailerEndpoints is what the mailer announces: what it gets pushed, what it
// serves, and a route whose requests are published.
func mailerEndpoints() []*goapi.Endpoint {
	return []*goapi.Endpoint{
		{Name: "OnOrder", Topic: "orders", Path: []string{"/on-order"}, Metadata: map[string]string{"subscriber": "true", "push": "true"}},
		{Name: "Orders", Method: []string{"GET"}, Path: []string{"/mailer/orders"}},
		{Name: "Signup", Handler: "event", Topic: "signups", Method: []string{"POST"}, Path: []string{"/signup"}},
	}
}

// addRequest and addReply are the messages of Calc.Add.
type addRequest struct {
	A int64 `json:"a"`
	B int64 `json:"b"`
}

type addReply struct {
	Sum int64 `json:"sum"`
}

//nolint:revive // grpc-go has the context second
func add(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var req addRequest
	if err := decode(&req); err != nil {
		return nil, err
	}
	return &addReply{Sum: req.A + req.B}, nil
}

// countRequest and countReply are the messages of Calc.Count, which streams.
type countRequest struct {
	To int64 `json:"to"`
}

type countReply struct {
	N int64 `json:"n"`
}

// count sends the numbers up to what is asked, a few each second.
func count(_ any, stream grpc.ServerStream) error {
	var req countRequest
	if err := stream.RecvMsg(&req); err != nil {
		return err
	}
	tick := time.NewTicker(time.Second / 4)
	defer tick.Stop()
	for n := int64(1); n <= req.To; n++ {
		if err := stream.SendMsg(&countReply{N: n}); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
	return nil
}

// serveCalc serves the calculator until ctx is done.
func serveCalc(ctx context.Context, l net.Listener) error {
	s := grpc.NewServer(grpc.ForceServerCodecV2(jsonCodec{}))
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "calc.Calc",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Add", Handler: add}},
		Streams:     []grpc.StreamDesc{{StreamName: "Count", Handler: count, ServerStreams: true}},
	}, struct{}{})
	defer context.AfterFunc(ctx, s.Stop)()
	return s.Serve(l)
}

// calcAnnouncement is what the calculator announces. The types of the fields
// let the gateway make numbers of a query.
func calcAnnouncement(address string) *registry.Service {
	return &registry.Service{
		Name: "calc", Version: "latest",
		Endpoints: []*registry.Endpoint{{
			Name: "Calc.Add",
			Request: &registry.Value{Name: "AddRequest", Type: "AddRequest", Values: []*registry.Value{
				{Name: "a", Type: "int64"}, {Name: "b", Type: "int64"},
			}},
			Metadata: map[string]string{"endpoint": "Calc.Add", "handler": "rpc", "method": "GET,POST", "path": "/add"},
		}, {
			Name: "Calc.Count",
			Request: &registry.Value{Name: "CountRequest", Type: "CountRequest", Values: []*registry.Value{
				{Name: "to", Type: "int64"},
			}},
			Metadata: map[string]string{"endpoint": "Calc.Count", "handler": "rpc", "method": "GET", "path": "/count", "stream": "true"},
		}},
		Nodes: []*registry.Node{{ID: "calc-1", Address: address, Metadata: map[string]string{"protocol": "grpc"}}},
	}
}

// jsonCodec carries messages as JSON, as go-micro's gRPC servers also take it.
type jsonCodec struct{}

func (jsonCodec) Name() string { return "json" }

func (jsonCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, err := json.Marshal(v)
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}

func (jsonCodec) Unmarshal(data mem.BufferSlice, v any) error {
	return json.Unmarshal(data.Materialize(), v)
}
