package conformance_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/resolver"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/server"
)

// envServer makes this test binary the server that the runner of the Connect
// suite starts: the value is the command of the server behind the gateway.
const envServer = "CONFORMANCE_REFERENCE_SERVER"

func TestMain(m *testing.M) {
	if command := os.Getenv(envServer); command != "" {
		os.Exit(asServer(command))
	}
	os.Exit(m.Run())
}

// asServer returns the exit status.
func asServer(command string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serveBehindGateway(ctx, command, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		return 1
	}
	return 0
}

// tool builds one of the module's tools, and returns its path.
func tool(t *testing.T, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(pkg))
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	return path
}

// listen returns a gateway in front of one node of a service. It serves while
// run does.
func listen(ctx context.Context, service, address string, conf *tls.Config) (s *server.Server, run func(context.Context) error, err error) {
	node := &registry.Node{ID: service + "-1", Address: address, Metadata: map[string]string{"protocol": client.ProtocolGRPC}}
	table, err := router.Static([]*registry.Service{{Name: service, Nodes: []*registry.Node{node}}},
		&router.Options{Resolver: resolver.WithGRPC(resolver.GRPC)})
	if err != nil {
		return nil, nil, err
	}
	relay := handler.GRPC(nil)
	gateway := &goapi.Gateway{
		Router:   table,
		Handlers: map[string]http.Handler{"rpc": handler.RPC(client.ByProtocol{}, &handler.RPCOptions{GRPC: relay})},
	}
	s, err = server.Listen(ctx, "127.0.0.1:0", &server.Options{TLS: conf, Drain: time.Second})
	if err != nil {
		return nil, nil, err
	}
	return s, func(ctx context.Context) error {
		defer relay.(io.Closer).Close()
		return s.Run(ctx, gateway)
	}, nil
}
