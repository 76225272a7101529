package grpc_test

import (
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	clientgrpc "github.com/goapi-dev/goapi/client/grpc"
	"github.com/goapi-dev/goapi/internal/mucp"
)

// TestHeaderTooLarge: what a service says it does not take is not sent, and is
// the client's to shorten.
func TestHeaderTooLarge(t *testing.T) {
	n := serve(t, nil, func(stream grpc.ServerStream) error {
		var body []byte
		if err := stream.RecvMsg(&body); err != nil {
			return err
		}
		return stream.SendMsg(body)
	}, grpc.MaxHeaderListSize(4<<10))
	c := clientgrpc.New(nil)
	t.Cleanup(func() { _ = c.Close() })
	call := func(size int) (sent bool, err error) {
		_, err = c.Call(t.Context(), n, &client.Request{
			Service: "greeter", Endpoint: "Greeter.Hello", ContentType: mucp.Protobuf,
			Header: map[string]string{"X-Long": strings.Repeat("x", size)},
			Sent:   func() { sent = true },
		})
		return sent, err
	}
	if _, err := call(100); err != nil { // the connection is there, and what the service takes is known
		t.Fatalf("Call with a short header error = %v", err)
	}
	sent, err := call(8 << 10)
	if got := goapi.Status(err); got != http.StatusRequestHeaderFieldsTooLarge || sent {
		t.Errorf("Call with a long header error = %v, status %d, sent %t; want 431, not sent", err, got, sent)
	}
	if _, err := call(100); err != nil {
		t.Errorf("Call after a long header error = %v", err)
	}
}
