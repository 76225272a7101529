package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/service"
)

// kinds are the services that a node serves, each at an address of its own.
// They are named for how they are reached: by the http handler, and by the rpc
// handler in go-micro's RPC and in gRPC.
var kinds = []string{"web", "rpc", "grpc"}

// linger is how long a gRPC node serves on after it was withdrawn; for others
// the service package does it.
const linger = 250 * time.Millisecond

// A nodeConfig tells a process what node it is.
type nodeConfig struct {
	ID        string
	Addresses map[string]string // where it listens, by kind
	Admin     string            // the gateway that it announces itself to; empty for none
	Abrupt    bool              // SIGTERM ends it at once
}

// echo is what nodes read and answer.
type echo struct {
	Request string `json:"request"`
	Work    string `json:"work,omitempty"` // how long it is to take: "5ms"
	Node    string `json:"node,omitempty"`
}

// endpoint is what a node announces of a kind.
func endpoint(kind string) *goapi.Endpoint {
	handler := "rpc"
	if kind == "web" {
		handler = "http"
	}
	return &goapi.Endpoint{
		Name: "Node.Echo", Handler: handler, Method: []string{http.MethodGet, http.MethodPost}, Path: []string{"/" + kind + "/{request}"},
	}
}

// A served is a node within its process.
type served struct{ nodeConfig }

// serveNode is the node's process. It ends with SIGTERM: withdrawn, if it was
// announced, and drained.
func serveNode(config string) error {
	var n served
	if err := json.Unmarshal([]byte(config), &n.nodeConfig); err != nil {
		return err
	}
	ctx := context.Background()
	if !n.Abrupt {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGTERM)
		defer stop()
	}
	group, ctx := errgroup.WithContext(ctx)
	for kind, address := range n.Addresses {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			return err
		}
		group.Go(func() error { return n.serve(ctx, kind, l) })
	}
	fmt.Println("listening")
	return group.Wait()
}

func (n *served) serve(ctx context.Context, kind string, l net.Listener) error {
	if kind == "grpc" {
		return n.serveGRPC(ctx, l)
	}
	opts := &service.Options{Listener: l}
	if n.Admin != "" {
		opts.Registry = admin.NewClient(n.Admin, "")
	}
	s := service.New(kind, opts)
	if kind == "web" {
		s.HandleHTTP(http.HandlerFunc(n.serveHTTP), endpoint(kind))
	} else {
		s.Handle("Node.Echo", service.Method(func(_ context.Context, req *echo) (*echo, error) { return n.answer(req), nil }), endpoint(kind))
	}
	return s.Run(ctx)
}

func (n *served) serveHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // an error shows in the answer that does not come
	rsp := n.answer(&echo{Request: strings.TrimPrefix(r.URL.Path, "/web/"), Work: r.URL.Query().Get("work")})
	_ = json.NewEncoder(w).Encode(rsp)
}

func (n *served) serveGRPC(ctx context.Context, l net.Listener) error {
	server := grpc.NewServer(grpc.ForceServerCodec(jsonCodec{}))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "grpc.Node",
		Methods: []grpc.MethodDesc{{
			MethodName: "Echo",
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				req := new(echo)
				if err := decode(req); err != nil {
					return nil, err
				}
				return n.answer(req), nil
			},
		}},
	}, nil)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }() // ends with GracefulStop
	if n.Admin == "" {
		<-ctx.Done()
	} else {
		s := announcement("grpc", &node{id: n.ID, addresses: n.Addresses})
		if err := service.Announce(ctx, admin.NewClient(n.Admin, ""), s, nil); err != nil {
			return err
		}
		time.Sleep(linger)
	}
	server.GracefulStop()
	return <-done
}

// answer takes its time for a request, after a line that says that it was read:
// so a test knows what reached the node even if that did not live to answer.
func (n *served) answer(req *echo) *echo {
	fmt.Println(req.Request)
	if d, err := time.ParseDuration(req.Work); err == nil {
		time.Sleep(d)
	}
	return &echo{Request: req.Request, Node: n.ID}
}

// jsonCodec is gRPC with messages in JSON.
type jsonCodec struct{}

func (jsonCodec) Name() string                       { return "json" }
func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// announcement returns nodes as the service of a kind.
func announcement(kind string, nodes ...*node) *registry.Service {
	s := &registry.Service{Name: kind, Version: "latest", Endpoints: []*registry.Endpoint{endpoint(kind).Encode()}}
	for _, n := range nodes {
		rn := &registry.Node{ID: n.id, Address: n.addresses[kind]}
		if kind == "grpc" {
			rn.Metadata = map[string]string{"protocol": "grpc"}
		}
		s.Nodes = append(s.Nodes, rn)
	}
	return s
}
