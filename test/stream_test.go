package test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"google.golang.org/grpc"

	"github.com/goapi-dev/goapi/registry"
)

// TestStreamOverWebSocket opens a stream of a gRPC service in which both sides
// send.
func TestStreamOverWebSocket(t *testing.T) {
	p := startStreams(t)
	c, _ := p.open("/streams/talk", nil)
	for _, id := range []string{"a", "b"} {
		if err := c.Write(t.Context(), websocket.MessageText, []byte(`{"request":"`+id+`"}`)); err != nil {
			t.Fatal(err)
		}
		kind, b, err := c.Read(t.Context())
		if err != nil || kind != websocket.MessageText || string(b) != `{"request":"`+id+`"}` {
			t.Fatalf("Read = %v %s, %v; want %s back", kind, b, err, id)
		}
	}
	if err := c.Write(t.Context(), websocket.MessageText, []byte(`{"request":"end"}`)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("Read after the end: error = %v, want a normal closure", err)
	}
}

// TestStreamOfEvents reads a stream in which only the service sends, event by
// event: the next is sent when the one before has arrived.
func TestStreamOfEvents(t *testing.T) {
	p := startStreams(t)
	for accept, prefix := range map[string]string{"text/event-stream": "data: ", "application/x-ndjson": ""} {
		t.Run(accept, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.address+"/streams/count", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", accept)
			rsp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer rsp.Body.Close()
			lines := bufio.NewScanner(rsp.Body)
			for _, want := range []string{"1", "2", "3"} {
				for lines.Scan() && lines.Text() == "" { // what separates events
				}
				if got := lines.Text(); got != prefix+`{"request":"`+want+`"}` {
					t.Fatalf("%s: line = %q, want message %s", rsp.Status, got, want)
				}
				p.next <- struct{}{}
			}
		})
	}
}

// TestLimitsOfStreams has streams end that nobody says anything on, and those that
// take too long.
func TestLimitsOfStreams(t *testing.T) {
	for limit, want := range map[string]string{"stream_idle": "1s", "stream_total": "2s"} {
		t.Run(limit, func(t *testing.T) {
			p := serveStreams(t, startConfigured(t, fmt.Sprintf("limits: {%s: %s}", limit, want)).process)
			c, _ := p.open("/streams/talk", nil)
			if _, last, err := c.Read(t.Context()); err != nil || !strings.Contains(string(last), want) {
				t.Errorf("Read = %s, %v; want why the stream ends after %s", last, err, want)
			}
		})
	}
}

// streams is a gateway and a service of streams.
type streams struct {
	*process

	next chan struct{} // lets Count send its next message
}

// startStreams starts both. The service runs in this process, over gRPC.
func startStreams(t *testing.T) *streams {
	t.Helper()
	return serveStreams(t, startGateway(t))
}

// serveStreams starts the service.
func serveStreams(t *testing.T, p *process) *streams {
	t.Helper()
	s := &streams{process: p, next: make(chan struct{})}
	server := grpc.NewServer(grpc.ForceServerCodec(jsonCodec{}))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "streams.Node",
		Streams: []grpc.StreamDesc{
			{StreamName: "Talk", Handler: talk, ServerStreams: true, ClientStreams: true},
			{StreamName: "Count", Handler: s.count, ServerStreams: true},
		},
	}, nil)
	l, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	announced := &registry.Service{Name: "streams", Nodes: []*registry.Node{
		{ID: "streams-1", Address: l.Addr().String(), Metadata: map[string]string{"protocol": "grpc"}},
	}}
	for _, name := range []string{"Talk", "Count"} {
		announced.Endpoints = append(announced.Endpoints, &registry.Endpoint{Name: "Node." + name, Metadata: map[string]string{
			"handler": "rpc", "stream": "true", "path": "/streams/" + strings.ToLower(name),
		}})
	}
	s.register(announced, 0)
	return s
}

// talk sends back what it gets, until that is "end".
func talk(_ any, stream grpc.ServerStream) error {
	for {
		msg := new(echo)
		if err := stream.RecvMsg(msg); err != nil || msg.Request == "end" {
			return ignore(err, io.EOF)
		}
		if err := stream.SendMsg(msg); err != nil {
			return err
		}
	}
}

// count sends three messages, each when the one before has arrived.
func (s *streams) count(_ any, stream grpc.ServerStream) error {
	for _, id := range []string{"1", "2", "3"} {
		if err := stream.SendMsg(&echo{Request: id}); err != nil {
			return err
		}
		select {
		case <-s.next:
		case <-stream.Context().Done():
			return context.Cause(stream.Context())
		}
	}
	return nil
}

// ignore returns err unless it is what was expected.
func ignore(err, expected error) error {
	if err == expected { //nolint:errorlint // io.EOF is not wrapped
		return nil
	}
	return err
}
