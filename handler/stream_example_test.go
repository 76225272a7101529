package handler_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// counter is a caller for the example: it knows one stream, that counts to
// three. Against real services it is a client.ByProtocol.
type counter struct{ parrot }

func (counter) Stream(context.Context, *registry.Node, *client.Request) (client.Stream, error) {
	return new(count), nil
}

type count struct{ n int }

func (c *count) Recv() ([]byte, error) {
	if c.n++; c.n > 3 {
		return nil, io.EOF
	}
	return fmt.Append(nil, c.n), nil
}
func (c *count) Send([]byte) error { return nil }
func (c *count) CloseSend() error  { return nil }
func (c *count) Close() error      { return nil }

// A stream of a service is sent to a browser's EventSource, which closes itself
// at the event "end".
func ExampleRPC_stream() {
	clock := &goapi.Route{
		Service:  "clock",
		Endpoint: &goapi.Endpoint{Name: "Clock.Ticks", Stream: true},
		Upstream: upstream.Static("127.0.0.1:9000"),
	}
	h := goapi.With(clock, handler.RPC(counter{}, nil))

	r := httptest.NewRequest(http.MethodGet, "/clock/ticks", nil)
	r.Header.Set("Accept", "text/event-stream")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Body)
	// Output:
	// data: 1
	//
	// data: 2
	//
	// data: 3
	//
	// event: end
	// data: {}
}
