package service

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

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
