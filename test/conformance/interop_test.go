package conformance_test

import (
	"context"
	"net"
	"os/exec"
	"testing"
	"time"
)

// TestInterop has the interop client of grpc-go call its interop server through
// the gateway.
func TestInterop(t *testing.T) {
	interopClient := tool(t, "google.golang.org/grpc/interop/client")
	backend := interopServer(t, tool(t, "google.golang.org/grpc/interop/server"))
	gateway, run, err := listen(t.Context(), "grpc.testing", backend, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	_, port, _ := net.SplitHostPort(gateway.Addr().String()) // of a listener

	cases := []string{
		"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
		"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "custom_metadata",
		"status_code_and_message", "special_status_message", "unimplemented_method", "unimplemented_service",
	}
	passed := 0
	for _, name := range cases {
		if t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			call := exec.CommandContext(ctx, interopClient, "-server_host", "127.0.0.1", "-server_port", port, "-test_case", name)
			if out, err := call.CombinedOutput(); err != nil {
				t.Errorf("%v: %v\n%s", call, err, out)
			}
		}) {
			passed++
		}
	}
	t.Logf("interop suite of grpc-go: %d cases, %d passed, %d failed", len(cases), passed, len(cases)-passed)
}

// interopServer starts the server, and returns its address when it accepts.
func interopServer(t *testing.T, path string) string {
	t.Helper()
	// It takes a port by number only; this one is free now.
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_, port, _ := net.SplitHostPort(address) // of a listener
	_ = free.Close()
	serve := exec.CommandContext(t.Context(), path, "-port", port)
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = serve.Process.Kill()
		_ = serve.Wait() // it was killed
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close() // it accepts
			return address
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the interop server does not accept: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
