package service

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/client/clienttest"
	"github.com/goapi-dev/goapi/registry"
)

// Streams of services are what callers of streams are promised.
func TestStreamConformance(t *testing.T) {
	clienttest.RunStreams(t, protocol{})
}

type protocol struct{}

func (protocol) Caller(t testing.TB, opts *client.Options) client.Caller {
	m := client.NewMicro(opts)
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// Serve serves nothing: calls are tested in package client.
func (protocol) Serve(t testing.TB, _ *tls.Config, _ clienttest.Service) *registry.Node {
	t.Fatal("this protocol has streams only")
	return nil
}

func (protocol) ServeStream(t testing.TB, config *tls.Config, f clienttest.StreamService) *registry.Node {
	s := New("greeter", &Options{MaxRequest: 32 << 20})
	s.methods["Greeter.Hello"] = Func{stream: func(ctx context.Context, _ codec, l *line) error {
		h := Header(ctx)
		call := &clienttest.Call{
			Service: h.Get("Micro-Service"), Endpoint: h.Get("Micro-Endpoint"), ContentType: h.Get("Content-Type"),
			Header: make(map[string]string),
		}
		for name, values := range h {
			call.Header[name] = strings.Join(values, ",")
		}
		err := f(ctx, call, bare{l})
		if errors.Is(err, clienttest.ErrNoMethod) {
			_, err = s.find("Greeter.Nope")
		}
		return err
	}}
	srv := httptest.NewUnstartedServer(s)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	if config != nil {
		srv.TLS = config
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(func() {
		srv.Close()
		s.streams.cutOff()
	})
	return &registry.Node{ID: "greeter-1", Address: srv.Listener.Addr().String()}
}

// bare is a stream of bytes.
type bare struct{ line *line }

func (b bare) Send(msg []byte) error { return b.line.send(msg) }

func (b bare) Recv() ([]byte, error) { return b.line.recv() }

// What a caller sends is read the same whether it comes at once or byte by byte,
// and no message is larger than it may be.
func FuzzLine(f *testing.F) {
	const head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
	f.Add([]byte(head + "Content-Length: 2\r\n\r\n{}" + head + "Micro-Error: EOS\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
	f.Add([]byte(head + "X-Micro-Error: EOS\r\nContent-Length: 0\r\n\r\n" + head + "Content-Length: 2\r\n\r\n{}"))
	f.Add([]byte(head + "Content-Length: 100\r\n\r\n{}"))
	f.Add([]byte("GET / HTTP/1.0\r\n\r\nPOST"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		if diff := cmp.Diff(hear(t, sent, false), hear(t, sent, true)); diff != "" {
			t.Errorf("read at once and byte by byte (-once +byte by byte):\n%s", diff)
		}
	})
}

// hear returns what a service reads of what a caller sent, and then why there is
// no more.
func hear(t *testing.T, sent []byte, byteByByte bool) []string {
	t.Helper()
	const most = 64
	near, far := net.Pipe()
	defer near.Close()
	go func() { // ends with the connection
		defer far.Close()
		var from io.Reader = bytes.NewReader(sent)
		if byteByByte {
			from = iotest.OneByteReader(from)
		}
		_, _ = io.Copy(far, struct{ io.Reader }{from}) // the service may have had enough
	}()
	c := &call{service: New("greeter", &Options{MaxRequest: most}), contentType: "application/json"}
	l := newLine(t.Context(), c, near, bufio.NewReader(strings.NewReader("")))
	defer l.unbound()
	done := make(chan struct{})
	go func() { defer close(done); l.listen() }()
	var heard []string
	for {
		message, err := l.recv()
		if err != nil {
			_ = near.Close() // says nothing
			<-done
			return append(heard, err.Error())
		}
		if len(message) > most {
			t.Errorf("recv = %d bytes, want at most %d", len(message), most)
		}
		heard = append(heard, string(message))
	}
}
