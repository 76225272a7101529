package test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/goapi-dev/goapi/registry"
)

// TestWebSocket opens a WebSocket to a service, which chooses a subprotocol and
// says why it closes.
func TestWebSocket(t *testing.T) {
	p := startGateway(t)
	p.register(sockets("chat", socketNode(t, "chat-1")), 0)
	c, rsp := p.open("/chat", &websocket.DialOptions{Subprotocols: []string{"v1", "v2"}})
	if c.Subprotocol() != "v2" || rsp.Header.Get("X-Node") != "chat-1" {
		t.Errorf("the handshake gave subprotocol %q and header %v, want v2 and the node", c.Subprotocol(), rsp.Header)
	}
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		roundTrip(t, c, kind)
	}
	if err := c.Write(t.Context(), websocket.MessageText, []byte("bye")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != 4001 {
		t.Errorf("Read after the service's close: error = %v, want status 4001", err)
	}
}

// TestWebSocketOfARemovedNode withdraws a node that has a WebSocket open, and
// then all others of its service.
func TestWebSocketOfARemovedNode(t *testing.T) {
	p := startGateway(t)
	s := sockets("chat", socketNode(t, "chat-1"), socketNode(t, "chat-2"))
	p.register(s, 0)
	c, rsp := p.open("/chat", nil)
	roundTrip(t, c, websocket.MessageText)

	nodes := s.Nodes
	if rsp.Header.Get("X-Node") != nodes[0].ID {
		slices.Reverse(nodes)
	}
	for i, n := range nodes {
		if err := p.client().Deregister(t.Context(), sockets("chat", n)); err != nil {
			t.Fatal(err)
		}
		left := len(nodes) - 1 - i
		p.await(func() bool { return len(p.nodes("chat")) == left }, fmt.Sprint(left, " nodes"))
		roundTrip(t, c, websocket.MessageText)
	}
	for i := range 10 { // tables
		p.register(sockets(fmt.Sprint("other-", i), &registry.Node{ID: "o", Address: "127.0.0.1:1"}), 0)
	}
	roundTrip(t, c, websocket.MessageText)
	if got := p.status(p.address, "/chat"); got != http.StatusServiceUnavailable {
		t.Errorf("a request after the last node is gone = %d, want 503", got)
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestWebSocketAtTermination ends the gateway while WebSockets are open: they
// have the time that all requests get, and no more.
func TestWebSocketAtTermination(t *testing.T) {
	const drain = time.Second
	p := startGateway(t, "--drain", drain.String())
	p.register(sockets("chat", socketNode(t, "chat-1")), 0)
	stays, _ := p.open("/chat", nil)
	leaves, _ := p.open("/chat", nil)
	p.terminate()
	began := time.Now()
	p.await(func() bool { return p.status(p.admin, "/readyz") == http.StatusServiceUnavailable }, "failing /readyz")
	roundTrip(t, stays, websocket.MessageText)
	roundTrip(t, leaves, websocket.MessageText)
	if err := leaves.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("Close while the gateway drains: %v", err)
	}
	if _, _, err := stays.Read(t.Context()); err == nil {
		t.Error("a WebSocket outlasts the drain")
	}
	if took := time.Since(began); took < drain || took > drain+patience/4 {
		t.Errorf("the WebSocket was cut off after %s, want %s", took, drain)
	}
	if got := p.wait(); got != 0 {
		t.Errorf("exit status = %d, want 0\n%s", got, p.logged())
	}
}

// socketNode starts a node in this process that sends back what it gets over
// WebSockets, until that is "bye".
func socketNode(t *testing.T, id string) *registry.Node {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Node", id)
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"v2"}})
		if err != nil {
			return // Accept has answered
		}
		for {
			kind, b, err := c.Read(r.Context())
			switch {
			case err != nil:
				return
			case string(b) == "bye":
				_ = c.Close(4001, "as you wish")
				return
			}
			_ = c.Write(r.Context(), kind, b) // an error shows in the next Read
		}
	}))
	t.Cleanup(server.Close)
	return &registry.Node{ID: id, Address: server.Listener.Addr().String()}
}

// sockets returns nodes as a service with a route of its name.
func sockets(name string, nodes ...*registry.Node) *registry.Service {
	return &registry.Service{Name: name, Version: "latest", Nodes: nodes, Endpoints: []*registry.Endpoint{
		{Name: "Socket", Metadata: map[string]string{"handler": "web", "path": "/" + name}},
	}}
}

// open opens a WebSocket, which ends with the test.
func (p *process) open(path string, opts *websocket.DialOptions) (*websocket.Conn, *http.Response) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	c, rsp, err := websocket.Dial(ctx, "ws://"+p.address+path, opts)
	if err != nil {
		p.t.Fatalf("WebSocket to %s: %v", path, err)
	}
	p.t.Cleanup(func() { _ = c.CloseNow() })
	return c, rsp
}

// roundTrip sends a message and reads it back.
func roundTrip(t *testing.T, c *websocket.Conn, kind websocket.MessageType) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Write(ctx, kind, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	got, b, err := c.Read(ctx)
	if err != nil || got != kind || string(b) != "hello" {
		t.Fatalf("Read = %v %q, %v; want %v hello", got, b, err, kind)
	}
}
