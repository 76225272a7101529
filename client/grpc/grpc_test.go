package grpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/client/clienttest"
	clientgrpc "github.com/goapi-dev/goapi/client/grpc"
	"github.com/goapi-dev/goapi/internal/mucp"
	"github.com/goapi-dev/goapi/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	clienttest.Run(t, protocol{})
}

func TestStreamConformance(t *testing.T) {
	clienttest.RunStreams(t, protocol{})
}

// protocol is gRPC, and a server that answers as go-micro's do.
type protocol struct{}

func (protocol) Caller(t testing.TB, opts *client.Options) client.Caller {
	o := new(clientgrpc.Options)
	if opts != nil {
		o.Options = *opts
	}
	c := clientgrpc.New(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (protocol) Serve(t testing.TB, config *tls.Config, s clienttest.Service) *registry.Node {
	return serve(t, config, func(stream grpc.ServerStream) error {
		var body []byte
		if err := stream.RecvMsg(&body); err != nil {
			return err
		}
		path, _ := grpc.MethodFromServerStream(stream)
		call := callOf(stream.Context(), path, body)
		answer, err := s(stream.Context(), call)
		if err != nil {
			return statusOf(call, err).Err()
		}
		return stream.SendMsg(answer)
	})
}

// ServeStream starts a server of streams.
func (protocol) ServeStream(t testing.TB, config *tls.Config, s clienttest.StreamService) *registry.Node {
	return serve(t, config, func(stream grpc.ServerStream) error {
		path, _ := grpc.MethodFromServerStream(stream)
		call := callOf(stream.Context(), path, nil)
		if err := s(stream.Context(), call, serverStream{stream}); err != nil {
			return statusOf(call, err).Err()
		}
		return nil
	})
}

// serverStream is the service's side of a stream.
type serverStream struct{ grpc.ServerStream }

func (s serverStream) Send(msg []byte) error { return s.SendMsg(msg) }

func (s serverStream) Recv() ([]byte, error) {
	var msg []byte
	err := s.RecvMsg(&msg)
	return msg, err
}

// serve starts a gRPC server that hands every method to the handler.
func serve(t testing.TB, config *tls.Config, handler func(grpc.ServerStream) error, opts ...grpc.ServerOption) *registry.Node {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opts = append(opts,
		grpc.ForceServerCodecV2(bytesCodec{}),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error { return handler(stream) }),
	)
	if config != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(config)))
	}
	srv := grpc.NewServer(opts...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // ends with Stop
	}()
	t.Cleanup(func() {
		srv.Stop()
		<-done
	})
	return &registry.Node{ID: "greeter-1", Address: ln.Addr().String(), Metadata: map[string]string{"protocol": "grpc"}}
}

// callOf returns a call as a go-micro service sees it: the type is what stands
// after the last dot.
func callOf(ctx context.Context, path string, body []byte) *clienttest.Call {
	typ, method, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	pkg, typ := typ[:strings.LastIndexByte(typ, '.')], typ[strings.LastIndexByte(typ, '.')+1:]
	c := &clienttest.Call{Service: pkg, Endpoint: typ + "." + method, Header: make(map[string]string), Body: body}
	md, _ := metadata.FromIncomingContext(ctx)
	for k, v := range md {
		c.Header[k] = strings.Join(v, ",")
	}
	subtype := strings.TrimPrefix(c.Header["content-type"], "application/grpc+")
	c.ContentType = map[string]string{"json": mucp.JSON, "proto": mucp.Protobuf}[subtype]
	return c
}

// statusOf returns an error as go-micro's gRPC servers write it.
func statusOf(c *clienttest.Call, err error) *status.Status {
	var known *goapi.Error
	switch {
	case errors.As(err, &known):
		return microStatus(known)
	case errors.Is(err, clienttest.ErrNoMethod):
		return status.New(codes.Unimplemented, "unknown service "+c.Endpoint)
	case errors.Is(err, clienttest.ErrNoMessage):
		return status.New(codes.Internal, "grpc: failed to unmarshal the received message: proto:\u00a0(line 1:16): unknown field \"nosuch\"")
	}
	return status.FromContextError(err)
}

func microStatus(e *goapi.Error) *status.Status {
	code, ok := map[int]codes.Code{
		400: codes.InvalidArgument, 401: codes.Unauthenticated, 403: codes.PermissionDenied, 404: codes.NotFound,
		408: codes.DeadlineExceeded, 409: codes.AlreadyExists, 412: codes.FailedPrecondition,
		500: codes.Internal, 501: codes.Unimplemented, 503: codes.Unavailable,
	}[e.Code]
	if !ok {
		code = codes.Unknown
	}
	p := status.New(code, (&mucp.Error{ID: e.ID, Code: e.Code, Detail: e.Detail}).Text()).Proto()
	var b []byte
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, e.ID)
	b = protowire.AppendTag(b, 2, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(e.Code))
	b = protowire.AppendTag(b, 3, protowire.BytesType)
	b = protowire.AppendString(b, e.Detail)
	b = protowire.AppendTag(b, 4, protowire.BytesType)
	b = protowire.AppendString(b, http.StatusText(e.Code))
	p.Details = []*anypb.Any{{TypeUrl: "type.googleapis.com/errors.Error", Value: b}}
	return status.FromProto(p)
}

// bytesCodec hands messages through.
type bytesCodec struct{}

var _ encoding.CodecV2 = bytesCodec{}

func (bytesCodec) Name() string { return "bytes" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*(v.(*[]byte)) = data.Materialize()
	return nil
}

func TestMethodPaths(t *testing.T) {
	node := serve(t, nil, func(stream grpc.ServerStream) error {
		var body []byte
		if err := stream.RecvMsg(&body); err != nil {
			return err
		}
		path, _ := grpc.MethodFromServerStream(stream)
		return stream.SendMsg([]byte(path))
	})
	tests := []struct {
		service, endpoint, pkg string
		want                   string
		status                 int
	}{
		{"greeter", "Greeter.Hello", "", "/greeter.Greeter/Hello", 0},
		{"go.micro.srv.greeter", "Greeter.Hello", "", "/go.micro.srv.greeter.Greeter/Hello", 0},
		{"greeter", "Greeter.Hello", "greet.v1", "/greet.v1.Greeter/Hello", 0},
		{"greet.v1", "Greeter.Hello", "", "/greet.v1.Greeter/Hello", 0},
		{"greet.v1.Greeter", "Greeter.Hello", "", "/greet.v1.Greeter/Hello", 0},
		{"greet.v1.Greeter", "Greeter.Hello", "greet.v2", "/greet.v2.Greeter/Hello", 0},
		{"greet.v1.Greeter", "Other.Hello", "", "/greet.v1.Greeter.Other/Hello", 0},
		{"MyGreeter", "Greeter.Hello", "", "/MyGreeter.Greeter/Hello", 0},
		{"Greeter", "Greeter.Hello", "", "/Greeter/Hello", 0},
		{"greeter", "greet.v1.Greeter.Hello", "", "/greet.v1.Greeter/Hello", 0},
		{"greeter", "greet.v1.Greeter/Hello", "", "/greet.v1.Greeter/Hello", 0},
		{"greeter", "/Greeter/Hello", "", "/Greeter/Hello", 0},
		{"greeter", "Hello", "", "", 404},
		{"greeter", "Greeter.", "", "", 404},
		{"greeter", ".Hello", "", "", 404},
		{"greeter.", ".Hello", "", "", 404},
		{"greeter", "a/b/c", "", "", 404},
		{"greeter", "Greeter.Hello there", "", "", 404},
		{"greeter", "Grüter.Hello", "", "", 404},
	}
	c := protocol{}.Caller(t, nil)
	for _, tt := range tests {
		t.Run(tt.endpoint, func(t *testing.T) {
			n := &registry.Node{Address: node.Address, Metadata: map[string]string{"package": tt.pkg}}
			res, err := c.Call(t.Context(), n, &client.Request{Service: tt.service, Endpoint: tt.endpoint, ContentType: mucp.JSON})
			if tt.status != 0 {
				if got := goapi.Status(err); err == nil || got != tt.status {
					t.Errorf("Call error = %v (%d), want %d", err, got, tt.status)
				}
				return
			}
			if err != nil || string(res.Body) != tt.want {
				t.Errorf("Call = %v, %v, want the path %s", res, err, tt.want)
			}
		})
	}
}

// What services answer, of either kind; see the table in the package.
func TestStatuses(t *testing.T) {
	micro := &goapi.Error{Code: 409, ID: "greeter.fail", Detail: "twice"}
	tests := []struct {
		name string
		st   *status.Status
		want goapi.Error
	}{
		{"details", microStatus(micro), *micro},
		{"text", status.New(codes.AlreadyExists, `{"id":"greeter.fail","code":409,"detail":"twice","status":"Conflict"}`), *micro},
		{"text without code", status.New(codes.NotFound, `{"id":"x"}`), goapi.Error{Code: 404, ID: "greeter", Detail: `{"id":"x"}`}},
		{"broken details", withDetails("type.googleapis.com/errors.Error", "\xff\xff"), goapi.Error{Code: 400, ID: "greeter", Detail: "text"}},
		{"other details", withDetails("type.googleapis.com/google.rpc.BadRequest", "\n\x00"), goapi.Error{Code: 400, ID: "greeter", Detail: "text"}},
		{"plain", status.New(codes.Unknown, "a plain error"), goapi.Error{Code: 500, ID: "greeter", Detail: "a plain error"}},
		{"plain deadline", status.New(codes.Unknown, "context deadline exceeded"), goapi.Error{Code: 504, ID: "greeter", Detail: "context deadline exceeded"}},
		{"unknown service", status.New(codes.Unimplemented, "unknown service Nope"), goapi.Error{Code: 404, ID: "greeter", Detail: "unknown service Nope"}},
		{"unknown method", status.New(codes.Unimplemented, "unknown method Nope for service greet.Greeter"), goapi.Error{Code: 404, ID: "greeter", Detail: "unknown method Nope for service greet.Greeter"}},
		{"unimplemented", status.New(codes.Unimplemented, "method Hello not implemented"), goapi.Error{Code: 501, ID: "greeter", Detail: "method Hello not implemented"}},
		{"v6 unmarshal", status.New(codes.Internal, "grpc: failed to unmarshal the received message: invalid message"), goapi.Error{Code: 400, ID: "greeter", Detail: "grpc: failed to unmarshal the received message: invalid message"}},
		{"native unmarshal", status.New(codes.Internal, "grpc: error unmarshalling request: x"), goapi.Error{Code: 400, ID: "greeter", Detail: "grpc: error unmarshalling request: x"}},
		{"internal", status.New(codes.Internal, "x"), goapi.Error{Code: 500, ID: "greeter", Detail: "x"}},
		{"canceled", status.New(codes.Canceled, "x"), goapi.Error{Code: 500, ID: "greeter", Detail: "x"}},
		{"invalid argument", status.New(codes.InvalidArgument, "x"), goapi.Error{Code: 400, ID: "greeter", Detail: "x"}},
		{"out of range", status.New(codes.OutOfRange, "x"), goapi.Error{Code: 400, ID: "greeter", Detail: "x"}},
		{"unauthenticated", status.New(codes.Unauthenticated, "x"), goapi.Error{Code: 401, ID: "greeter", Detail: "x"}},
		{"permission denied", status.New(codes.PermissionDenied, "x"), goapi.Error{Code: 403, ID: "greeter", Detail: "x"}},
		{"not found", status.New(codes.NotFound, "x"), goapi.Error{Code: 404, ID: "greeter", Detail: "x"}},
		{"already exists", status.New(codes.AlreadyExists, "x"), goapi.Error{Code: 409, ID: "greeter", Detail: "x"}},
		{"aborted", status.New(codes.Aborted, "x"), goapi.Error{Code: 409, ID: "greeter", Detail: "x"}},
		{"failed precondition", status.New(codes.FailedPrecondition, "x"), goapi.Error{Code: 412, ID: "greeter", Detail: "x"}},
		{"resource exhausted", status.New(codes.ResourceExhausted, "x"), goapi.Error{Code: 429, ID: "greeter", Detail: "x"}},
		{"request too large", status.New(codes.ResourceExhausted, "grpc: received message larger than max (5 vs. 4)"), goapi.Error{Code: 413, ID: "greeter", Detail: "grpc: received message larger than max (5 vs. 4)"}},
		{"unavailable", status.New(codes.Unavailable, "x"), goapi.Error{Code: 503, ID: "greeter", Detail: "x"}},
		{"deadline exceeded", status.New(codes.DeadlineExceeded, "x"), goapi.Error{Code: 504, ID: "greeter", Detail: "x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := serve(t, nil, func(grpc.ServerStream) error { return tt.st.Err() })
			_, err := protocol{}.Caller(t, nil).Call(t.Context(), n, request())
			var got *goapi.Error
			if !errors.As(err, &got) || got.Code != tt.want.Code || got.ID != tt.want.ID || got.Detail != tt.want.Detail {
				t.Errorf("Call error = %v, want %v", err, &tt.want)
			}
		})
	}
}

func withDetails(url, value string) *status.Status {
	p := status.New(codes.InvalidArgument, "text").Proto()
	p.Details = []*anypb.Any{{TypeUrl: url, Value: []byte(value)}}
	return status.FromProto(p)
}

func request() *client.Request {
	return &client.Request{Service: "greeter", Endpoint: "Greeter.Hello", ContentType: mucp.JSON, Body: []byte("{}")}
}

// A node that comes back at its address is found again by the connection that
// is there.
func TestServiceComesBack(t *testing.T) {
	node := serve(t, nil, answerOK)
	c := protocol{}.Caller(t, nil)
	if _, err := c.Call(t.Context(), node, request()); err != nil {
		t.Fatalf("Call error = %v", err)
	}
	other := *serve(t, nil, answerOK)
	if _, err := c.Call(t.Context(), &other, request()); err != nil {
		t.Errorf("Call of another node error = %v", err)
	}
	if err := c.(*clientgrpc.Caller).Close(); err != nil {
		t.Errorf("Close error = %v", err)
	}
	if _, err := c.Call(t.Context(), node, request()); err != nil {
		t.Errorf("Call after Close error = %v, want none", err)
	}
}

func answerOK(stream grpc.ServerStream) error {
	var body []byte
	if err := stream.RecvMsg(&body); err != nil {
		return err
	}
	return stream.SendMsg([]byte("{}"))
}

// With room for one connection, that of the node before is closed; while both
// are in use, there is no room.
func TestMaxConns(t *testing.T) {
	arrived, leave := make(chan struct{}), make(chan struct{})
	slow := serve(t, nil, func(stream grpc.ServerStream) error {
		arrived <- struct{}{}
		<-leave
		return answerOK(stream)
	})
	c := clientgrpc.New(&clientgrpc.Options{MaxConns: 1})
	defer c.Close()
	for range 3 {
		if _, err := c.Call(t.Context(), serve(t, nil, answerOK), request()); err != nil {
			t.Errorf("Call error = %v, want room made", err)
		}
	}
	done := make(chan error)
	go func() {
		_, err := c.Call(t.Context(), slow, request())
		done <- err
	}()
	<-arrived
	_, err := c.Call(t.Context(), serve(t, nil, answerOK), request())
	if known := new(goapi.Error); err == nil || errors.As(err, &known) {
		t.Errorf("Call error = %v, want no room", err)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Errorf("Call under way error = %v, want none", err)
	}
}

// A node that takes no more streams still takes calls. A stream that it does not
// take is no failure of its own, whoever gives up first.
func TestStreamsLeaveRoomForCalls(t *testing.T) {
	n := serve(t, nil, func(stream grpc.ServerStream) error {
		for {
			if err := answerOK(stream); err != nil {
				return nil //nolint:nilerr // the end
			}
		}
	}, grpc.MaxConcurrentStreams(1))
	c := clientgrpc.New(&clientgrpc.Options{Options: client.Options{Timeout: 500 * time.Millisecond}})
	defer c.Close()
	first, err := c.Stream(t.Context(), n, request())
	if err != nil {
		t.Fatalf("Stream error = %v", err)
	}
	defer first.Close()
	req := request()
	req.Sent = func() { t.Error("Sent was called") }
	givenUp, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(200*time.Millisecond, func() { cancel(context.DeadlineExceeded) })
	for _, ctx := range []context.Context{givenUp, t.Context()} {
		if _, err = c.Stream(ctx, n, req); goapi.Status(err) != http.StatusServiceUnavailable || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stream error = %v, want 503", err)
		}
	}
	gone, leave := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, leave)
	if _, err = c.Stream(gone, n, req); !errors.Is(err, context.Canceled) {
		t.Errorf("Stream error = %v, want that of a client that is gone", err)
	}
	unary := serve(t, nil, answerOK, grpc.MaxConcurrentStreams(1))
	waiting, err := c.Stream(t.Context(), unary, request())
	if err != nil {
		t.Fatalf("Stream error = %v", err)
	}
	defer waiting.Close()
	if _, err := c.Call(t.Context(), unary, request()); err != nil {
		t.Errorf("Call error = %v, want none", err)
	}
	if err := first.Close(); err != nil {
		t.Errorf("Close error = %v", err)
	}
	again, err := c.Stream(t.Context(), n, request())
	if err != nil {
		t.Fatalf("Stream after Close of the first error = %v", err)
	}
	_ = again.Close()
}

// An HTTP/2 server that knows no gRPC answers, but not a call.
func TestNotGRPCIs502(t *testing.T) {
	n := serveHTTP2(t, http.NotFound)
	_, err := protocol{}.Caller(t, nil).Call(t.Context(), n, request())
	if got := goapi.Status(err); got != http.StatusBadGateway {
		t.Errorf("Call error = %v (%d), want 502", err, got)
	}
	_, err = openStream(t, n).Recv()
	if got := goapi.Status(err); got != http.StatusBadGateway {
		t.Errorf("Recv error = %v (%d), want 502", err, got)
	}
}

// A service that floods its header costs the one call an error.
func TestHeaderFlood(t *testing.T) {
	n := serveHTTP2(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		for i := range 12 << 10 {
			w.Header().Set(fmt.Sprint("x-flood-", i), strings.Repeat("a", 1<<10))
		}
	})
	if _, err := (protocol{}).Caller(t, nil).Call(t.Context(), n, request()); err == nil {
		t.Error("Call error = nil, want one")
	}
	if _, err := openStream(t, n).Recv(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("Recv error = %v, want one", err)
	}
}

// openStream opens a stream with a caller of its own.
func openStream(t *testing.T, n *registry.Node) client.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	s, err := protocol{}.Caller(t, nil).(client.Streamer).Stream(ctx, n, request())
	if err != nil {
		t.Fatalf("Stream error = %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// serveHTTP2 starts a server of HTTP/2 without TLS.
func serveHTTP2(t *testing.T, h http.HandlerFunc) *registry.Node {
	t.Helper()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, Protocols: &protocols, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // ends with Close
	}()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return &registry.Node{ID: "greeter-1", Address: ln.Addr().String()}
}

func BenchmarkCall(b *testing.B) {
	node := serve(b, nil, answerOK)
	c := protocol{}.Caller(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Call(b.Context(), node, request()); err != nil {
			b.Fatal(err)
		}
	}
}
