package handler_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

func TestWebSocketMessages(t *testing.T) {
	tests := []struct {
		name string
		kind websocket.MessageType
		mode websocket.CompressionMode
		size int
	}{
		{"empty text", websocket.MessageText, websocket.CompressionDisabled, 0},
		{"text", websocket.MessageText, websocket.CompressionDisabled, 5},
		{"binary", websocket.MessageBinary, websocket.CompressionDisabled, 70_000},
		{"large", websocket.MessageBinary, websocket.CompressionDisabled, 4 << 20},
		{"compressed text", websocket.MessageText, websocket.CompressionContextTakeover, 10_000},
		{"compressed, large", websocket.MessageBinary, websocket.CompressionNoContextTakeover, 1 << 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			gw := serveWeb(t, nil, socketService(t, &websocket.AcceptOptions{CompressionMode: tt.mode}, echoMessages))
			c, resp := dialSocket(t, gw, &websocket.DialOptions{CompressionMode: tt.mode})
			compressed := resp.Header.Get("Sec-WebSocket-Extensions") != ""
			if want := tt.mode != websocket.CompressionDisabled; compressed != want {
				t.Errorf("extensions = %q, want some: %t", resp.Header.Get("Sec-WebSocket-Extensions"), want)
			}
			message := bytes.Repeat([]byte("a"), tt.size)
			if tt.kind == websocket.MessageBinary {
				_, _ = rand.Read(message) // does not fail
			}
			for range 3 {
				if err := c.Write(t.Context(), tt.kind, message); err != nil {
					t.Fatal(err)
				}
				kind, got, err := c.Read(t.Context())
				if err != nil || kind != tt.kind || !bytes.Equal(got, message) {
					t.Fatalf("read %d bytes of kind %v, %v, want the %d that were sent", len(got), kind, err, len(message))
				}
			}
		})
	}
}

func TestWebSocketSubprotocol(t *testing.T) {
	gw := serveWeb(t, nil, socketService(t, &websocket.AcceptOptions{Subprotocols: []string{"superchat"}}, echoMessages))
	for _, tt := range []struct {
		offer []string
		want  string
	}{
		{[]string{"chat", "superchat"}, "superchat"},
		{[]string{"chat"}, ""},
		{nil, ""},
	} {
		c, _ := dialSocket(t, gw, &websocket.DialOptions{Subprotocols: tt.offer})
		if got := c.Subprotocol(); got != tt.want {
			t.Errorf("subprotocol of %q = %q, want %q", tt.offer, got, tt.want)
		}
	}
}

func TestWebSocketPing(t *testing.T) {
	pinged := make(chan error, 1)
	gw := serveWeb(t, nil, socketService(t, nil, func(ctx context.Context, c *websocket.Conn) {
		ctx = c.CloseRead(ctx)
		pinged <- c.Ping(ctx)
		<-ctx.Done()
	}))
	c, _ := dialSocket(t, gw, nil)
	c.CloseRead(t.Context())
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("ping of the client: %v", err)
	}
	if err := <-pinged; err != nil {
		t.Errorf("ping of the service: %v", err)
	}
}

// TestWebSocketCloses has one side close with a code and a reason: the other
// must read both.
func TestWebSocketCloses(t *testing.T) {
	for _, want := range []websocket.CloseError{
		{Code: websocket.StatusNormalClosure},
		{Code: websocket.StatusGoingAway, Reason: "drain"},
		{Code: websocket.StatusPolicyViolation, Reason: "no"},
		{Code: 3999, Reason: "a framework's"},
		{Code: 4999, Reason: "an application's own, ünïcode"},
	} {
		t.Run(strconv.Itoa(int(want.Code)), func(t *testing.T) {
			read := make(chan error, 1)
			gw := serveWeb(t, nil, socketService(t, nil, func(ctx context.Context, c *websocket.Conn) {
				_, message, err := c.Read(ctx)
				if string(message) == "close" {
					err = c.Close(want.Code, want.Reason)
				}
				read <- err
			}))
			var got websocket.CloseError
			byClient, _ := dialSocket(t, gw, nil)
			if err := byClient.Close(want.Code, want.Reason); err != nil {
				t.Errorf("Close: %v", err)
			}
			if err := <-read; !errors.As(err, &got) || got != want {
				t.Errorf("the service has read %v, want %+v", err, want)
			}
			byService, _ := dialSocket(t, gw, nil)
			if err := byService.Write(t.Context(), websocket.MessageText, []byte("close")); err != nil {
				t.Fatal(err)
			}
			if _, _, err := byService.Read(t.Context()); !errors.As(err, &got) || got != want {
				t.Errorf("the client has read %v, want %+v", err, want)
			}
			if err := <-read; err != nil {
				t.Errorf("the service closed with %v, want an answer", err)
			}
		})
	}
}

// TestWebSocketLeavesWithoutClosing has a service that ends the connection
// without a word.
func TestWebSocketLeavesWithoutClosing(t *testing.T) {
	gw := serveWeb(t, nil, socketService(t, nil, func(_ context.Context, c *websocket.Conn) {
		_ = c.CloseNow() // that is the test
	}))
	c, _ := dialSocket(t, gw, nil)
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != -1 || err == nil {
		t.Errorf("read error = %v, want one without a code", err)
	}
}

// TestWebSocketsDrain has a node leave the registry: what is open goes on, and
// what is new goes to those that are left.
func TestWebSocketsDrain(t *testing.T) {
	named := func(name string) string {
		return socketService(t, nil, func(ctx context.Context, c *websocket.Conn) {
			for {
				if _, _, err := c.Read(ctx); err != nil {
					return
				}
				if err := c.Write(ctx, websocket.MessageText, []byte(name)); err != nil {
					return
				}
			}
		})
	}
	one := &registry.Node{ID: "one", Address: named("one")}
	two := &registry.Node{ID: "two", Address: named("two")}
	pools := upstream.NewPools(nil)
	announce := func(nodes ...*registry.Node) {
		pools.Update("test", []*registry.Service{{Name: "test", Nodes: nodes}})
	}
	announce(one)
	rt := webRoute()
	rt.Upstream = pools.Pool("test").All()
	ended := make(chan string, 3) // one for each connection
	h := webHandler(t, nil)
	gw := listen(t, goapi.With(rt, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		ended <- ""
	})))
	old, _ := dialSocket(t, gw, nil)
	expectReply(t, old, "one")
	if n := inFlight(rt.Upstream, "one"); n != 1 {
		t.Errorf("%d in flight on node one, want 1", n)
	}
	announce(one, two)
	announce(two)
	next, _ := dialSocket(t, gw, nil)
	for range 3 {
		expectReply(t, old, "one")
		expectReply(t, next, "two")
	}
	pools.Update("test", nil)
	expectReply(t, old, "one")
	expectReply(t, next, "two")
	if err := old.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := next.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("Close: %v", err)
	}
	receive(t, ended)
	receive(t, ended)
	if n := inFlight(rt.Upstream, "two"); n != 0 {
		t.Errorf("%d in flight on node two, want 0", n)
	}
}

// TestWebSocketsOutlastChanges has 1,000 connections echo, and the table change
// 100 times: first other routes, then the nodes of their own, and then theirs
// is gone.
func TestWebSocketsOutlastChanges(t *testing.T) {
	const (
		connections = 1000
		changes     = 100
	)
	var live tables
	live.Store(router.NewTable(upstream.NewPools(nil), nil))
	echoes := announced("echo", "/echo", socketService(t, nil, echoMessages))
	live.update(echoes)
	gw := listen(t, &goapi.Gateway{Router: &live, Handlers: map[string]http.Handler{"web": webHandler(t, nil)}})
	conns := make([]*websocket.Conn, connections)
	for i := range conns {
		conns[i], _ = dialSocket(t, gw+"/echo", nil)
	}
	services := []*registry.Service{echoes}
	for i := range changes {
		switch i {
		case changes / 2:
			services[0] = announced("echo", "/echo", "127.0.0.1:1", "127.0.0.1:2")
		case changes * 3 / 4:
			services = services[1:]
		default:
			name := "other" + strconv.Itoa(i)
			services = append(services, announced(name, "/"+name, "127.0.0.1:1"))
		}
		before := live.Load()
		live.update(slices.Clone(services)...)
		if live.Load() == before && i != changes/2 { // which changes nodes alone
			t.Fatalf("change %d made no new table", i)
		}
		part := connections / changes
		echoAll(t, conns[i*part:(i+1)*part])
	}
	echoAll(t, conns)
}

// tables is a router whose table can be changed.
type tables struct{ atomic.Pointer[router.Table] }

// Route implements goapi.Router.
func (l *tables) Route(r *http.Request) (*goapi.Route, error) { return l.Load().Route(r) }

// update makes a table of what is announced.
func (l *tables) update(services ...*registry.Service) {
	next, _ := l.Load().Next(services)
	l.Store(next)
}

// announced is a service with one route for the handler web.
func announced(name, path string, nodes ...string) *registry.Service {
	s := &registry.Service{Name: name, Endpoints: []*registry.Endpoint{{
		Name: "All", Metadata: map[string]string{"handler": "web", "path": path},
	}}}
	for _, address := range nodes {
		s.Nodes = append(s.Nodes, &registry.Node{ID: name + address, Address: address})
	}
	return s
}

// echoAll has all connections echo at once.
func echoAll(t testing.TB, conns []*websocket.Conn) {
	t.Helper()
	var g errgroup.Group
	for i, c := range conns {
		g.Go(func() error { return echoOnce(t.Context(), c, strconv.Itoa(i)) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// socketService runs a service that serves each WebSocket by talk, and closes it
// then. It returns its address.
func socketService(t testing.TB, opts *websocket.AcceptOptions, talk func(context.Context, *websocket.Conn)) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var open atomic.Int64
	none := make(chan struct{}, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, opts)
		if err != nil {
			return // it is answered
		}
		open.Add(1)
		defer func() {
			_ = c.CloseNow() // it may be closed
			if open.Add(-1) == 0 {
				select {
				case none <- struct{}{}:
				default:
				}
			}
		}()
		c.SetReadLimit(-1)
		talk(ctx, c)
	}))
	t.Cleanup(func() {
		cancel()
		for open.Load() > 0 {
			<-none
		}
		srv.Close()
	})
	return srv.Listener.Addr().String()
}

func echoMessages(ctx context.Context, c *websocket.Conn) {
	for {
		kind, message, err := c.Read(ctx)
		if err != nil {
			return
		}
		if err := c.Write(ctx, kind, message); err != nil {
			return
		}
	}
}

// dialSocket opens a WebSocket for the time of the test.
func dialSocket(t testing.TB, address string, opts *websocket.DialOptions) (*websocket.Conn, *http.Response) {
	t.Helper()
	if opts == nil {
		opts = new(websocket.DialOptions)
	}
	opts.HTTPClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, "ws://"+address, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() }) // it may be closed
	c.SetReadLimit(-1)
	return c, resp
}

// echoOnce sends a text, which must come back.
func echoOnce(ctx context.Context, c *websocket.Conn, text string) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		return err
	}
	_, got, err := c.Read(ctx)
	if err == nil && string(got) != text {
		err = fmt.Errorf("read %q, want %q", got, text)
	}
	return err
}

// expectReply says something and reads what comes back.
func expectReply(t testing.TB, c *websocket.Conn, want string) {
	t.Helper()
	if err := c.Write(t.Context(), websocket.MessageText, []byte("who?")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.Read(t.Context()); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

// inFlight returns how many requests a node of a set serves.
func inFlight(s *upstream.Set, id string) int {
	nodes := s.Nodes()
	i := slices.IndexFunc(nodes, func(n upstream.NodeState) bool { return n.Node.ID == id })
	if i < 0 {
		return -1
	}
	return nodes[i].InFlight
}
