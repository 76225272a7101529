package handler_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
)

// TestBodyThatBreaksOff sends a part of a body and ends what it sends: the
// client is told, since it reads on, and that it is its own mistake.
func TestBodyThatBreaksOff(t *testing.T) {
	events := helloRoute()
	events.Endpoint = &goapi.Endpoint{Name: "Greeter.Stream", Handler: "rpc", Stream: true}
	handlers := map[string]http.Handler{
		"rpc":    goapi.With(helloRoute(), handler.RPC(answer("{}"), nil)),
		"api":    goapi.With(helloRoute(), handler.API(answer("{}"), nil)),
		"stream": goapi.With(events, handler.RPC(memory{serve: echoes}, nil)),
	}
	bodies := map[string]string{
		"of a length":       "Content-Length: 100\r\n\r\n{}",
		"in a chunk":        "Transfer-Encoding: chunked\r\n\r\n64\r\n{}",
		"between chunks":    "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
		"no chunk of bytes": "Transfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n",
	}
	for name, h := range handlers {
		for part, body := range bodies {
			t.Run(name+", "+part, func(t *testing.T) {
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(startServer(t, h), "http://"))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				head := "POST / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n"
				if _, err := io.WriteString(conn, head+body); err != nil {
					t.Fatal(err)
				}
				closeWrite(t, conn)
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := textOf(res); !strings.HasPrefix(got, "400 ") || !strings.Contains(got, "the body broke off or is malformed") {
					t.Errorf("answer = %s, want 400 and that the body broke off", got)
				}
			})
		}
	}
}
