// Package clienttest holds what every [client.Caller] and [client.Streamer]
// promises, as suites of tests against a real service in the protocol.
package clienttest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
)

var (
	// ErrNoMethod is returned by a Service for a method that it does not have.
	// A Protocol answers it in its own way.
	ErrNoMethod = errors.New("clienttest: no such method")
	// ErrNoMessage is returned by a Service for a message that it cannot read.
	// A Protocol answers it in its own way.
	ErrNoMessage = errors.New("clienttest: not a message")
)

// A Call is what reached the service.
type Call struct {
	// Service and Endpoint are the names that were called; Service is empty
	// where the protocol does not tell it.
	Service, Endpoint string
	// ContentType is application/json or application/protobuf.
	ContentType string
	// Header is everything that the service sees as metadata, and the headers of
	// the protocol itself.
	Header map[string]string
	Body   []byte
}

// A Service answers calls. An error that is a *goapi.Error is the service's
// own, with id, code and detail; ErrNoMethod and ErrNoMessage are the
// protocol's; any other is plain text. The context has the deadline that
// travelled with the call, and is done when the protocol notices that the
// caller went away.
type Service func(ctx context.Context, c *Call) ([]byte, error)

// A Protocol is a caller and the server side that it is tested against.
type Protocol interface {
	// Caller returns a new caller. It is closed by t.Cleanup.
	Caller(t testing.TB, opts *client.Options) client.Caller
	// Serve starts a server on loopback, over TLS unless config is nil, and
	// returns its node without the metadata that says TLS. It is closed by
	// t.Cleanup.
	Serve(t testing.TB, config *tls.Config, s Service) *registry.Node
}

// Run tests a protocol's caller, each promise as a sub-test.
func Run(t *testing.T, p Protocol) {
	t.Helper()
	run(t, promises(), &env{Protocol: p})
}

// Check tests one promise by its name, as Run and RunStreams do, and returns
// what breaks it: so can be shown that the suite finds a broken caller. A
// promise of streams needs a StreamProtocol.
func Check(t testing.TB, p Protocol, promise string) error {
	t.Helper()
	streams, _ := p.(StreamProtocol)
	for _, pr := range append(promises(), streamPromises()...) {
		if pr.name == promise {
			return pr.check(&env{TB: t, Protocol: p, streams: streams})
		}
	}
	t.Fatalf("clienttest: no promise is named %s", promise)
	return nil
}

// A promise returns what breaks it.
type promise struct {
	name  string
	check func(*env) error
}

func run(t *testing.T, promises []promise, e *env) {
	t.Helper()
	for _, pr := range promises {
		t.Run(pr.name, func(t *testing.T) {
			e := *e
			e.TB = t
			if err := pr.check(&e); err != nil {
				t.Error(err)
			}
		})
	}
}

// env is what a promise is checked in.
type env struct {
	testing.TB
	Protocol

	streams StreamProtocol // nil where calls are tested
}

// echo answers Greeter.Hello with the message itself.
func echo(_ context.Context, c *Call) ([]byte, error) {
	if c.Endpoint != hello {
		return nil, ErrNoMethod
	}
	return c.Body, nil
}

const (
	service = "greeter"
	hello   = "Greeter.Hello"
	john    = `{"name":"john"}`

	contentJSON  = "application/json"
	contentProto = "application/protobuf"
)

// request returns a call of Greeter.Hello in JSON.
func request() *client.Request {
	return &client.Request{Service: service, Endpoint: hello, ContentType: contentJSON, Body: []byte(john)}
}

// call makes a call with a new caller.
func (e *env) call(ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
	return e.Caller(e.TB, nil).Call(ctx, n, req)
}

// recorder is a Service that keeps the last call.
type recorder struct {
	mu   sync.Mutex
	last Call
}

func (r *recorder) serve(_ context.Context, c *Call) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = *c
	return c.Body, nil
}

func (r *recorder) call() Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// certificate returns a server's configuration and a client's that trusts it.
func certificate() (server, trusting *tls.Config) {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12},
		&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}
