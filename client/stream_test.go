package client_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/client/clienttest"
	"github.com/goapi-dev/goapi/internal/mucp"
	"github.com/goapi-dev/goapi/registry"
)

func TestMicroStreamConformance(t *testing.T) {
	clienttest.RunStreams(t, micro{})
}

func TestByProtocolStreams(t *testing.T) {
	caller := client.ByProtocol{client.ProtocolMicro: micro{}.Caller(t, nil), client.ProtocolGRPC: callerFunc(nil)}
	req := &client.Request{Service: "greeter", Endpoint: "Greeter.Hello", ContentType: mucp.JSON}
	s, err := caller.Stream(t.Context(), micro{}.ServeStream(t, nil, echoStream), req)
	if err != nil {
		t.Fatalf("Stream error = %v", err)
	}
	defer s.Close()
	if err := s.Send([]byte("1")); err != nil {
		t.Errorf("Send error = %v", err)
	}
	if got, err := s.Recv(); err != nil || string(got) != "1" {
		t.Errorf("Recv = %q, %v, want the message", got, err)
	}
	for name, protocol := range map[string]string{"no caller": "thrift", "no streamer": "grpc"} {
		t.Run(name, func(t *testing.T) {
			n := &registry.Node{ID: "greeter-1", Metadata: map[string]string{"protocol": protocol}}
			_, err := caller.Stream(t.Context(), n, req)
			if foreign, ok := errors.AsType[*client.ProtocolError](err); !ok || foreign.Protocol != protocol {
				t.Errorf("Stream error = %v, want a *ProtocolError of %s", err, protocol)
			}
		})
	}
}

// ServeStream starts a server that speaks as v6 does.
func (micro) ServeStream(t testing.TB, config *tls.Config, s clienttest.StreamService) *registry.Node {
	var (
		mu    sync.Mutex
		conns []net.Conn
	)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // which is not read
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack error = %v", err)
			return
		}
		mu.Lock()
		conns = append(conns, conn)
		mu.Unlock()
		serveMicroStream(conn, rw.Reader, r, s)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	if config != nil {
		srv.TLS = config
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(func() {
		srv.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	})
	return &registry.Node{ID: "greeter-1", Address: srv.Listener.Addr().String(), Metadata: map[string]string{"protocol": "mucp"}}
}

// serveMicroStream serves the stream that r opens.
func serveMicroStream(conn net.Conn, in *bufio.Reader, r *http.Request, s clienttest.StreamService) {
	defer conn.Close()
	call := &clienttest.Call{
		Service: r.Header.Get(mucp.HeaderService), Endpoint: r.Header.Get(mucp.HeaderEndpoint),
		ContentType: r.Header.Get("Content-Type"), Header: make(map[string]string),
	}
	for name, values := range r.Header {
		call.Header[name] = strings.Join(values, ",")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if timeout, ok := mucp.ParseTimeout(r.Header.Get(mucp.HeaderTimeout)); ok {
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	ms := &microServerStream{conn: conn, header: r.Header, ctx: ctx, in: make(chan *http.Request), bodies: make(chan []byte, 1)}
	gone := make(chan struct{})
	go func() { // ends with the connection
		defer close(gone)
		defer cancel()
		ms.read(in)
	}()
	err := s(ctx, call, ms)
	switch text := errorText(call, err); {
	case ms.ended && err == nil: // v6 says nothing then
	case err == nil:
		_ = ms.write(mucp.EndOfStream, nil)
	default:
		_ = ms.write(text, nil)
	}
	cancel()
	<-gone
}

// microServerStream is the service's side of a stream.
type microServerStream struct {
	conn   net.Conn
	header http.Header // of the opening, which is echoed
	ctx    context.Context
	in     chan *http.Request
	bodies chan []byte
	ended  bool
}

// read reads messages, one ahead.
func (s *microServerStream) read(in *bufio.Reader) {
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		select {
		case s.in <- r:
			s.bodies <- body
		case <-s.ctx.Done(): // the service has ended
		}
	}
}

func (s *microServerStream) Recv() ([]byte, error) {
	if s.ended {
		return nil, io.EOF
	}
	select {
	case r := <-s.in:
		body := <-s.bodies
		if r.Header.Get(mucp.HeaderError) == mucp.EndOfStream {
			s.ended = true
			return nil, io.EOF
		}
		f, err := mucp.DecodeRequest(r.Header.Get("Content-Type"), body)
		return f.Message, err
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func (s *microServerStream) Send(msg []byte) error { return s.write("", msg) }

func (s *microServerStream) write(text string, msg []byte) error {
	h := s.header.Clone()
	if text != "" {
		mucp.Set(h, mucp.HeaderError, text)
	}
	body, err := mucp.EncodeResponse(h.Get("Content-Type"), mucp.Frame{ID: h.Get(mucp.HeaderID), Error: text, Message: msg})
	if err != nil {
		return err
	}
	if text == mucp.EndOfStream {
		body = nil
	}
	res := &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Header: h,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
	return res.Write(s.conn)
}

// echoStream sends every message back.
func echoStream(_ context.Context, _ *clienttest.Call, s clienttest.ServerStream) error {
	for {
		msg, err := s.Recv()
		if err == nil {
			err = s.Send(msg)
		}
		if err != nil {
			return err
		}
	}
}

func BenchmarkMicroStream(b *testing.B) {
	m := client.NewMicro(nil)
	defer m.Close()
	s, err := m.Stream(b.Context(), micro{}.ServeStream(b, nil, echoStream), &client.Request{
		Service: "greeter", Endpoint: "Greeter.Hello", ContentType: mucp.JSON,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Send([]byte(`{"name":"john"}`)); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			b.Fatal(err)
		}
	}
}
