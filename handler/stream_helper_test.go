package handler_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// streamService is a streamer in memory: it runs as the service of each stream,
// which it ends by returning. Its streams hold no message but those on their way.
type streamService func(ctx context.Context, c *caller) error

// caller is the other side of a stream, as its service sees it.
type caller struct {
	req  *client.Request
	node *registry.Node
	in   chan []byte   // from the client; closed by CloseSend
	out  chan []byte   // to the client
	over chan struct{} // closed when the service has returned
	err  error         // valid then
	ctx  context.Context
	stop context.CancelFunc
	done sync.Once
}

// memory holds streams of a streamService.
type memory struct {
	callerFunc // of unary calls; nil

	serve streamService
	open  func(n *registry.Node, req *client.Request) error // why a stream does not open; may be nil
}

func (m memory) Stream(ctx context.Context, n *registry.Node, req *client.Request) (client.Stream, error) {
	if m.open != nil {
		if err := m.open(n, req); err != nil {
			return nil, err
		}
	}
	req.Sent()
	c := &caller{req: req, node: n, in: make(chan []byte), out: make(chan []byte), over: make(chan struct{})}
	c.ctx, c.stop = context.WithCancel(ctx)
	go func() { // ends when the service does, which ctx ends
		defer close(c.over)
		if c.err = m.serve(c.ctx, c); c.err == nil {
			c.err = io.EOF
		}
	}()
	return c, nil
}

// Send implements client.Stream.
func (c *caller) Send(msg []byte) error {
	select {
	case <-c.ctx.Done():
	case <-c.over:
	case c.in <- bytes.Clone(msg):
		return nil
	}
	return client.ErrStreamOver
}

// CloseSend implements client.Stream.
func (c *caller) CloseSend() error {
	c.done.Do(func() { close(c.in) })
	return nil
}

// Recv implements client.Stream.
func (c *caller) Recv() ([]byte, error) {
	select {
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	case msg := <-c.out:
		return msg, nil
	case <-c.over:
		return nil, c.err
	}
}

// Close implements client.Stream.
func (c *caller) Close() error {
	c.stop()
	<-c.over
	return nil
}

// next returns the next message of the client, io.EOF at their end.
func (c *caller) next() (string, error) {
	select {
	case <-c.ctx.Done():
		return "", c.ctx.Err()
	case msg, ok := <-c.in:
		if !ok {
			return "", io.EOF
		}
		return string(msg), nil
	}
}

// say sends a message to the client.
func (c *caller) say(msg string) error {
	select {
	case <-c.ctx.Done():
		return c.ctx.Err()
	case c.out <- []byte(msg):
		return nil
	}
}

// echoes sends every message back, and ends with the client.
func echoes(_ context.Context, c *caller) error {
	for {
		msg, err := c.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = c.say(msg)
		}
		if err != nil {
			return err
		}
	}
}

// says sends messages and ends.
func says(msgs ...string) streamService {
	return func(_ context.Context, c *caller) error {
		for _, msg := range msgs {
			if err := c.say(msg); err != nil {
				return err
			}
		}
		return nil
	}
}

// waits is a service that is silent until its client goes away, and says so.
func waits(gone chan<- error) streamService {
	return func(ctx context.Context, _ *caller) error {
		<-ctx.Done()
		gone <- ctx.Err()
		return ctx.Err()
	}
}

// streamRoute is a route to a stream, with a node that only callers in memory
// can reach.
func streamRoute() *goapi.Route {
	rt := helloRoute()
	rt.Endpoint = &goapi.Endpoint{Name: "Greeter.Stream", Handler: "rpc", Stream: true}
	return rt
}

// serveStreams starts a gateway with one route, and returns its URL.
func serveStreams(t testing.TB, c client.Caller, rt *goapi.Route, opts *handler.StreamOptions) string {
	t.Helper()
	o := new(handler.RPCOptions)
	if opts != nil {
		o.Streams = *opts
	}
	srv := httptest.NewServer(goapi.With(rt, handler.RPC(c, o)))
	t.Cleanup(srv.Close)
	return srv.URL
}

// openSocket opens a WebSocket, with headers as pairs.
func openSocket(t testing.TB, url string, header ...string) *websocket.Conn {
	t.Helper()
	conn, res, err := tryDial(t, url, header...)
	if err != nil {
		t.Fatalf("dial = %v: %s", err, textOf(res))
	}
	return conn
}

func tryDial(t testing.TB, url string, header ...string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	opts := &websocket.DialOptions{HTTPHeader: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Subprotocol" {
			opts.Subprotocols = append(opts.Subprotocols, header[i+1])
			continue
		}
		opts.HTTPHeader.Add(header[i], header[i+1])
	}
	conn, res, err := websocket.Dial(limited(t), "ws"+strings.TrimPrefix(url, "http"), opts)
	if err == nil {
		conn.SetReadLimit(-1)
		t.Cleanup(func() { _ = conn.CloseNow() })
	}
	return conn, res, err
}

// limited returns a context that ends with the test, or well before it fails.
func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// textOf returns the status and body of an answer, which may have neither.
func textOf(res *http.Response) string {
	if res == nil || res.Body == nil {
		return fmt.Sprint(res)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	return res.Status + " " + string(body)
}

func writeText(t testing.TB, conn *websocket.Conn, msg string) {
	t.Helper()
	if err := conn.Write(limited(t), websocket.MessageText, []byte(msg)); err != nil {
		t.Fatalf("Write(%.100q) = %v", msg, err)
	}
}

// nextFrame returns what comes next: a message with the first letter of its
// type in front, or the code and reason that the connection is closed with.
func nextFrame(t testing.TB, conn *websocket.Conn) string {
	t.Helper()
	kind, msg, err := conn.Read(limited(t))
	var closed websocket.CloseError
	switch {
	case errors.As(err, &closed):
		return strings.TrimSpace(fmt.Sprintf("%d %s", closed.Code, closed.Reason))
	case err != nil:
		return err.Error()
	case kind == websocket.MessageBinary:
		return "b" + string(msg)
	}
	return "t" + string(msg)
}

// oneNode is a Set of the node at an address, which speaks a protocol.
func oneNode(n *registry.Node) *upstream.Set {
	s := &registry.Service{Name: "greeter", Nodes: []*registry.Node{n}}
	return upstream.NewPools(nil).Update(s.Name, []*registry.Service{s}).All()
}

// receives returns what comes from a channel within some seconds.
func receives[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	var v T
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s did not happen", what)
	}
	return v
}

// rawSocket opens a WebSocket of which the test writes the bytes itself.
func rawSocket(t testing.TB, url string, header ...string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(limited(t), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn, shakeHands(t, conn, header...)
}

// shakeHands opens a WebSocket on a connection, with headers as pairs.
func shakeHands(t testing.TB, conn net.Conn, header ...string) *bufio.Reader {
	t.Helper()
	text := "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	for i := 0; i < len(header); i += 2 {
		text += header[i] + ": " + header[i+1] + "\r\n"
	}
	if _, err := io.WriteString(conn, text+"\r\n"); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReaderSize(conn, 16)
	status, err := br.ReadString('\n')
	for line := status; line != "\r\n" && err == nil; {
		line, err = br.ReadString('\n')
	}
	if err != nil || !strings.HasPrefix(status, "HTTP/1.1 101") {
		t.Fatalf("handshake = %q, %v; want 101", status, err)
	}
	return br
}

// clientFrame returns a frame of a client. Its mask is zero, so that the payload
// is what it is.
func clientFrame(first byte, payload string) string {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return string(b) + "\x00\x00\x00\x00" + payload
}

// readServerFrame returns the first byte of the next frame of a server, and its
// payload.
func readServerFrame(br *bufio.Reader) (first byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return 0, nil, err
	}
	size := uint64(head[1])
	if more := map[byte]int{126: 2, 127: 8}[head[1]]; more > 0 {
		var b [8]byte
		if _, err := io.ReadFull(br, b[8-more:]); err != nil {
			return 0, nil, err
		}
		size = binary.BigEndian.Uint64(b[:])
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(br, payload)
	return head[0], payload, err
}

// closedWith returns the code that the server closes with; what it sends before
// is passed over.
func closedWith(br *bufio.Reader) (int, error) {
	for {
		first, payload, err := readServerFrame(br)
		switch {
		case err != nil:
			return 0, err
		case first == 0x88 && len(payload) >= 2:
			return int(binary.BigEndian.Uint16(payload)), nil
		case first == 0x88:
			return 1005, nil
		}
	}
}

// startServer serves a handler, and returns its URL.
func startServer(t testing.TB, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}
