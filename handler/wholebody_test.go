package handler_test

import (
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/upstream"
)

// TestRPCDoesNotWaitForABodyThatMeansNothing sends a GET whose body never
// comes: the answer must not wait for it.
func TestRPCDoesNotWaitForABodyThatMeansNothing(t *testing.T) {
	rt := &goapi.Route{
		Service: "greeter", Upstream: upstream.Static("127.0.0.1:1"),
		Endpoint: &goapi.Endpoint{Name: "Greeter.Hello", Handler: "rpc"},
	}
	srv := httptest.NewServer(goapi.With(rt, handler.RPC(answer("{}"), nil)))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
		t.Errorf("answer = %q, %v; want 200 and the end of the connection", answer, err)
	}
}
