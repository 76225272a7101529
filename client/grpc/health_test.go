package grpc_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	clientgrpc "github.com/goapi-dev/goapi/client/grpc"
	"github.com/goapi-dev/goapi/registry"
)

// The health service of grpc-go says what it is told to.
func TestHealth(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, h := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(srv, h)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // ends with Stop
	}()
	defer func() { srv.Stop(); <-done }()
	n := &registry.Node{ID: "greeter-1", Address: ln.Addr().String()}

	c := clientgrpc.New(nil)
	defer c.Close()
	if err := c.Health(t.Context(), n); err != nil {
		t.Errorf("Health of a server that serves = %v, want nil", err)
	}
	h.Shutdown()
	if err := c.Health(t.Context(), n); err == nil || !strings.Contains(err.Error(), "NOT_SERVING") {
		t.Errorf("Health of a server that shuts down = %v, want NOT_SERVING", err)
	}
}

func TestHealthAnswers(t *testing.T) {
	tests := []struct {
		name   string
		answer []byte
		err    error
		well   bool
	}{
		{"serving", []byte{8, 1}, nil, true},
		{"serving and more", []byte{8, 1, 16, 1}, nil, true},
		{"unknown", nil, nil, false},
		{"not serving", []byte{8, 2}, nil, false},
		{"garbage", []byte{0xff}, nil, false},
		{"no such service", nil, status.Error(codes.Unimplemented, "unknown service grpc.health.v1.Health"), true},
		{"no such method in go-micro", nil, status.Error(codes.Unimplemented, "unknown service Health.Check"), true},
		{"not implemented", nil, status.Error(codes.Unimplemented, "method Check not implemented"), true},
		{"denied", nil, status.Error(codes.PermissionDenied, "no"), false},
		{"unavailable", nil, status.Error(codes.Unavailable, "no"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := serve(t, nil, func(stream grpc.ServerStream) error {
				if path, _ := grpc.MethodFromServerStream(stream); path != "/grpc.health.v1.Health/Check" {
					t.Errorf("the node was asked %s", path)
				}
				var body []byte
				if err := stream.RecvMsg(&body); err != nil || len(body) > 0 {
					t.Errorf("the node got %q, %v, want an empty message", body, err)
				}
				if tt.err != nil {
					return tt.err
				}
				return stream.SendMsg(tt.answer)
			})
			c := clientgrpc.New(nil)
			defer c.Close()
			if err := c.Health(t.Context(), n); (err == nil) != tt.well {
				t.Errorf("Health = %v, want well: %t", err, tt.well)
			}
		})
	}
}

func TestHealthOfSilentNode(t *testing.T) {
	n := serve(t, nil, func(stream grpc.ServerStream) error {
		<-stream.Context().Done()
		return stream.Context().Err()
	})
	c := clientgrpc.New(nil)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Health(ctx, n); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Health = %v, want %v", err, context.DeadlineExceeded)
	}
}
