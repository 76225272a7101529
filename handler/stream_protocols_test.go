package handler_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/goapi-dev/goapi/client"
	clientgrpc "github.com/goapi-dev/goapi/client/grpc"
	"github.com/goapi-dev/goapi/registry"
)

// conversation is a stream as a service in a real protocol sees it.
type conversation interface {
	next() ([]byte, error)
	say(msg string) error
}

// converse is what the services of these tests do: they echo what they get,
// until they are asked for more, or for an error, or there is no more.
func converse(c conversation) error {
	for {
		msg, err := c.next()
		if errors.Is(err, io.EOF) {
			return c.say(`"that was all"`)
		}
		if err != nil {
			return err
		}
		switch string(msg) {
		case `"count"`:
			for i := range 3 {
				if err := c.say(fmt.Sprint(i)); err != nil {
					return err
				}
				<-time.After(2 * time.Millisecond) // as services of go-micro want it
			}
			return nil
		case `"fail"`:
			return errConverse
		}
		if err := c.say(string(msg)); err != nil {
			return err
		}
	}
}

var errConverse = errors.New(`{"id":"greeter.stream","code":409,"detail":"in use","status":"Conflict"}`)

// TestStreamsOfProtocols: streams reach services of gRPC and of go-micro's RPC.
func TestStreamsOfProtocols(t *testing.T) {
	micro, viaGRPC := client.NewMicro(nil), clientgrpc.New(nil)
	t.Cleanup(func() { _, _ = micro.Close(), viaGRPC.Close() })
	callers := client.ByProtocol{client.ProtocolMicro: micro, client.ProtocolGRPC: viaGRPC}
	for name, node := range map[string]*registry.Node{"grpc": serveGRPC(t), "mucp": serveMicro(t)} {
		rt := streamRoute()
		rt.Upstream = oneNode(node)
		url := serveStreams(t, callers, rt, nil)
		t.Run(name, func(t *testing.T) {
			t.Run("echo", func(t *testing.T) {
				conn := openSocket(t, url)
				for _, msg := range []string{`{"a":1}`, `"b"`} {
					writeText(t, conn, msg)
					if got := nextFrame(t, conn); strings.TrimSpace(got) != "t"+msg {
						t.Errorf("message = %q, want %q", got, msg)
					}
				}
				writeText(t, conn, "")
				if got := nextFrame(t, conn); got != `t"that was all"` {
					t.Errorf("after the end of the messages = %q", got)
				}
			})
			t.Run("count", func(t *testing.T) {
				conn := openSocket(t, url)
				writeText(t, conn, `"count"`)
				for _, want := range []string{"t0", "t1", "t2", "1000"} {
					if got := nextFrame(t, conn); got != want {
						t.Errorf("frame = %q, want %q", got, want)
					}
				}
			})
			t.Run("fail", func(t *testing.T) {
				conn := openSocket(t, url)
				writeText(t, conn, `"fail"`)
				for _, want := range []string{"t" + errConverse.Error(), "1008 in use"} {
					if got := nextFrame(t, conn); got != want {
						t.Errorf("frame = %q, want %q", got, want)
					}
				}
			})
			t.Run("events", func(t *testing.T) {
				r := post("/hello", "", `"count"`)
				w := askStream(callers, rt, r, asEvents)
				if want := "data: 0\n\ndata: 1\n\ndata: 2\n\nevent: end\ndata: {}\n\n"; w.Body.String() != want {
					t.Errorf("events = %q, want %q", w.Body, want)
				}
			})
			t.Run("failing at once", func(t *testing.T) {
				w := askStream(callers, rt, post("/hello", "", `"fail"`), asEvents)
				if w.Code != http.StatusConflict || strings.TrimSpace(w.Body.String()) != errConverse.Error() {
					t.Errorf("answer = %d %s, want the service's own", w.Code, w.Body)
				}
			})
		})
	}
}

// TestStreamsOfNodesThatDie: what a client is told when the node of its stream
// does, and that the next stream goes to another.
func TestStreamsOfNodesThatDie(t *testing.T) {
	micro := client.NewMicro(nil)
	t.Cleanup(func() { _ = micro.Close() })
	ln := listenLoopback(t)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return // closed at the end of the test
			}
			_, _ = http.ReadRequest(bufio.NewReader(c)) // the stream is open
			_ = c.Close()
		}
	}()
	rt := streamRoute()
	rt.Upstream = oneNode(&registry.Node{ID: "1", Address: ln.Addr().String()})
	conn := openSocket(t, serveStreams(t, micro, rt, nil))
	for _, want := range []string{`t{"id":"goapi","code":502,"detail":"service greeter broke off the stream","status":"Bad Gateway"}`, "1011 service greeter broke off the stream"} {
		if got := nextFrame(t, conn); got != want {
			t.Errorf("frame = %q, want %q", got, want)
		}
	}
}

// serveGRPC starts a server of gRPC, and returns its node.
func serveGRPC(t testing.TB) *registry.Node {
	t.Helper()
	ln := listenLoopback(t)
	srv := grpc.NewServer(grpc.ForceServerCodecV2(wholeBytes{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		if err := converse(grpcConversation{s}); err != nil {
			return status.Error(codes.Aborted, err.Error())
		}
		return nil
	}))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(ln) // ends with Stop
	}()
	t.Cleanup(func() {
		srv.Stop()
		<-served
	})
	return &registry.Node{ID: "grpc-1", Address: ln.Addr().String(), Metadata: map[string]string{"protocol": "grpc"}}
}

type grpcConversation struct{ grpc.ServerStream }

func (c grpcConversation) next() (msg []byte, err error) {
	err = c.RecvMsg(&msg)
	return msg, err
}

func (c grpcConversation) say(msg string) error { return c.SendMsg([]byte(msg)) }

// wholeBytes hands messages through.
type wholeBytes struct{}

var _ encoding.CodecV2 = wholeBytes{}

func (wholeBytes) Name() string { return "json" }

func (wholeBytes) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (wholeBytes) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// serveMicro starts a service as go-micro's speak streams: a connection for each,
// of requests and answers that are not paired.
func serveMicro(t testing.TB) *registry.Node {
	t.Helper()
	ln := listenLoopback(t)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return // closed at the end of the test
			}
			go func() { // ends with the caller's connection
				defer c.Close()
				m := &microConversation{br: bufio.NewReader(c), c: c}
				if _, err := m.next(); err != nil { // only opens the stream
					return
				}
				if err := converse(m); err != nil {
					m.answer(err.Error(), "")
				} else {
					m.answer("EOS", "")
				}
				_, _ = io.Copy(io.Discard, m.br)
			}()
		}
	}()
	return &registry.Node{ID: "mucp-1", Address: ln.Addr().String(), Metadata: map[string]string{"protocol": "mucp"}}
}

type microConversation struct {
	br *bufio.Reader
	c  net.Conn
	id string
}

func (m *microConversation) next() ([]byte, error) {
	r, err := http.ReadRequest(m.br)
	if err != nil {
		return nil, err
	}
	m.id = r.Header.Get("Micro-Stream")
	body, err := io.ReadAll(r.Body)
	if r.Header.Get("Micro-Error") == "EOS" {
		return nil, io.EOF
	}
	return body, err
}

func (m *microConversation) say(msg string) error { return m.answer("", msg) }

func (m *microConversation) answer(failure, msg string) error {
	if failure != "" {
		failure = "Micro-Error: " + failure + "\r\n"
	}
	_, err := fmt.Fprintf(m.c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMicro-Stream: %s\r\n%sContent-Length: %d\r\n\r\n%s",
		m.id, failure, len(msg), msg)
	return err
}

func listenLoopback(t testing.TB) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}
