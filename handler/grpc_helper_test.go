package handler_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/server"
	"github.com/goapi-dev/goapi/upstream"
)

// grpcService is what a service does with each call.
type grpcService func(s grpc.ServerStream) error

// start serves it, and returns its node.
func (serve grpcService) start(t testing.TB, opts ...grpc.ServerOption) *registry.Node {
	t.Helper()
	ln := listenLoopback(t)
	srv := grpc.NewServer(append(opts, grpc.ForceServerCodecV2(wholeBytes{}),
		grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error { return serve(s) }))...)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(ln) // ends with Stop
	}()
	t.Cleanup(func() {
		srv.Stop()
		<-served
	})
	return grpcNode(ln.Addr().String())
}

func grpcNode(address string) *registry.Node {
	return &registry.Node{ID: address, Address: address, Metadata: map[string]string{"protocol": "grpc"}}
}

// echoMessagesOfGRPC answers each message with itself.
func echoMessagesOfGRPC(s grpc.ServerStream) error {
	for {
		msg, err := recv(s)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = s.SendMsg([]byte(msg))
		}
		if err != nil {
			return err
		}
	}
}

// recv returns the next message of either side.
func recv(s interface{ RecvMsg(msg any) error }) (string, error) {
	var msg []byte
	err := s.RecvMsg(&msg)
	return string(msg), err
}

func nodesOf(nodes ...*registry.Node) *upstream.Set {
	s := &registry.Service{Name: "echo", Nodes: nodes}
	return upstream.NewPools(nil).Update(s.Name, []*registry.Service{s}).All()
}

func grpcRoute(nodes ...*registry.Node) *goapi.Route {
	return &goapi.Route{Service: "echo", Endpoint: &goapi.Endpoint{Name: "Echo.Call", Handler: "rpc"}, Upstream: nodesOf(nodes...)}
}

// serveRelay returns the address of a gateway with one route.
func serveRelay(t testing.TB, rt *goapi.Route, opts *handler.GRPCOptions, limits *server.Options) string {
	t.Helper()
	h := handler.GRPC(opts)
	t.Cleanup(func() {
		if err := h.(io.Closer).Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return serveHandlerWith(t, rt, h, limits)
}

func serveHandler(t testing.TB, rt *goapi.Route, h http.Handler) string {
	t.Helper()
	return serveHandlerWith(t, rt, h, nil)
}

func serveHandlerWith(t testing.TB, rt *goapi.Route, h http.Handler, limits *server.Options) string {
	t.Helper()
	if limits == nil {
		limits = new(server.Options)
	}
	limits.Drain = 100 * time.Millisecond // connections that are not idle yet
	limits.Logger = slog.New(slog.NewTextHandler(noPanic{t}, &slog.HandlerOptions{Level: slog.LevelError}))
	s, err := server.Listen(t.Context(), "127.0.0.1:0", limits)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, goapi.With(rt, h)) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return s.Addr().String()
}

// connect returns a client of a gateway.
func connect(t testing.TB, address string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableRetry(), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wholeBytes{})))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

const callPath = "/echo.Echo/Call"

// openCall begins a call in which both sides stream.
func openCall(ctx context.Context, t testing.TB, conn *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, callPath)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// invoke makes a unary call.
func invoke(ctx context.Context, conn *grpc.ClientConn, msg string, opts ...grpc.CallOption) (string, error) {
	var answer []byte
	err := conn.Invoke(ctx, callPath, []byte(msg), &answer, opts...)
	return string(answer), err
}

// frameOf returns a message as gRPC frames it.
func frameOf(msg string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(msg))), msg...)
}

// plainClient speaks HTTP/2 and knows nothing of gRPC.
func plainClient(t testing.TB) *http.Client {
	t.Helper()
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &p}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func grpcRequest(ctx context.Context, t testing.TB, address, contentType string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+callPath, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	return r
}

// frameNode is a node that speaks HTTP/2 frame by frame: serve is called when the
// headers of a stream are here, by its number.
func frameNode(t testing.TB, serve func(c *frameConn, stream uint32)) *registry.Node {
	t.Helper()
	return grpcNode(rawService(t, func(nc net.Conn, r *bufio.Reader) {
		if _, err := io.ReadFull(r, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		c := &frameConn{Framer: http2.NewFramer(nc, r), conn: nc}
		c.hpack = hpack.NewEncoder(&c.block)
		_ = c.WriteSettings()
		for {
			f, err := c.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.SettingsFrame:
				if !f.IsAck() {
					_ = c.WriteSettingsAck()
				}
			case *http2.HeadersFrame:
				serve(c, f.StreamID)
			case *http2.PingFrame:
				if !f.IsAck() {
					_ = c.WritePing(true, f.Data)
				}
			}
		}
	}))
}

// frameConn is a connection of a frameNode.
type frameConn struct {
	*http2.Framer

	conn  net.Conn
	block bytes.Buffer
	hpack *hpack.Encoder
}

// headers sends fields, each a name and a value.
func (c *frameConn) headers(stream uint32, end bool, fields ...string) {
	c.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = c.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	rest, first := c.block.Bytes(), true
	for first || len(rest) > 0 {
		n := min(len(rest), 16<<10)
		var err error
		if first {
			err = c.WriteHeaders(http2.HeadersFrameParam{
				StreamID: stream, BlockFragment: rest[:n], EndStream: end, EndHeaders: n == len(rest),
			})
		} else {
			err = c.WriteContinuation(stream, n == len(rest), rest[:n])
		}
		if err != nil {
			return
		}
		rest, first = rest[n:], false
	}
}

// head sends the head of an answer.
func (c *frameConn) head(stream uint32, fields ...string) {
	c.headers(stream, false, append([]string{":status", "200", "content-type", "application/grpc"}, fields...)...)
}

// selfSignedFor returns a certificate for the loopback address, and trust in it.
func selfSignedFor(t testing.TB) *tls.Config {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates, RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}
}

// text returns a status as code and message.
func text(err error) string {
	st := status.Convert(err)
	return st.Code().String() + ": " + st.Message()
}
