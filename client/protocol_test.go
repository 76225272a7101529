package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/client/clienttest"
	"github.com/goapi-dev/goapi/internal/mucp"
	"github.com/goapi-dev/goapi/registry"
)

func TestMicroConformance(t *testing.T) {
	clienttest.Run(t, micro{})
}

// The frames of json-rpc and proto-rpc are the caller's business alone.
func TestMicroFramesConformance(t *testing.T) {
	for _, contentType := range []string{mucp.JSONRPC, mucp.ProtoRPC} {
		t.Run(contentType, func(t *testing.T) {
			n := micro{}.Serve(t, nil, func(_ context.Context, c *clienttest.Call) ([]byte, error) {
				if string(c.Body) == `"fail"` {
					return nil, &goapi.Error{Code: 418, ID: "teapot", Detail: "short"}
				}
				return c.Body, nil
			})
			m := micro{}.Caller(t, nil)
			req := &client.Request{Service: "greeter", Endpoint: "Greeter.Hello", ContentType: contentType, Body: []byte(`{"a":1}`)}
			if res, err := m.Call(t.Context(), n, req); err != nil || string(res.Body) != `{"a":1}` || res.ContentType != contentType {
				t.Errorf("Call = %v, %v, want the message", res, err)
			}
			req.Body = []byte(`"fail"`)
			var got *goapi.Error
			if _, err := m.Call(t.Context(), n, req); !errors.As(err, &got) || got.Code != 418 || got.ID != "teapot" {
				t.Errorf("Call error = %v, want the service's", err)
			}
		})
	}
}

// A suite that passes everybody promises nothing: each of these callers breaks
// one promise, and is found.
func TestConformanceFindsBrokenCallers(t *testing.T) {
	tests := []struct {
		promise string
		breaks  func(c client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error)
	}{
		{"CallsEcho", func(c client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			res, err := c.Call(ctx, n, req)
			if err == nil {
				res.Body = []byte(strings.TrimRight(string(res.Body), "}\xff"))
			}
			return res, err
		}},
		{"CarriesMetadata", func(c client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			req.Header = nil
			return c.Call(ctx, n, req)
		}},
		{"DropsReserved", func(_ client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			return naive(ctx, n, req)
		}},
		{"DropsInvalidMetadata", func(_ client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			return naive(ctx, n, req)
		}},
		{"KeepsServiceError", func(c client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			res, err := c.Call(ctx, n, req)
			if known := new(goapi.Error); errors.As(err, &known) {
				known.ID = "goapi"
			}
			return res, err
		}},
		{"UnknownMethodIs404", func(_ client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			return naive(ctx, n, req)
		}},
		{"DeadlineTravels", func(c client.Caller, _ context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			return c.Call(context.Background(), n, req)
		}},
		{"DeadlineIs504", func(c client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			res, err := c.Call(ctx, n, req)
			if errors.Is(err, context.DeadlineExceeded) {
				err = context.DeadlineExceeded
			}
			return res, err
		}},
		{"CancelReturnsContextError", func(c client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			res, err := c.Call(ctx, n, req)
			if err != nil {
				err = goapi.NewError(502, "failed", err)
			}
			return res, err
		}},
		{"CallsSent", func(c client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			req.Sent = nil
			return c.Call(ctx, n, req)
		}},
		{"LostAnswerIsSent", func(c client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			res, err := c.Call(ctx, n, req)
			if err != nil {
				return c.Call(ctx, n, req)
			}
			return res, nil
		}},
		{"UnreachableIsNotSent", func(c client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			req.Sent()
			return c.Call(ctx, n, req)
		}},
		{"BoundsReply", func(_ client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			return naive(ctx, n, req)
		}},
		{"GarbageIsNoAnswer", func(c client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			res, err := c.Call(ctx, n, req)
			if err != nil {
				err = goapi.NewError(502, "failed", err)
			}
			return res, err
		}},
		{"VerifiesTLS", func(_ client.Caller, ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
			m := client.NewMicro(&client.Options{TLS: &tls.Config{InsecureSkipVerify: true}})
			defer m.Close()
			return m.Call(ctx, n, req)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.promise, func(t *testing.T) {
			if err := clienttest.Check(t, micro{}, tt.promise); err != nil {
				t.Errorf("Check(Micro) = %v, want nil", err)
			}
			if err := clienttest.Check(t, broken{breaks: tt.breaks}, tt.promise); err == nil {
				t.Error("Check(broken) = nil, want what is broken")
			}
		})
	}
}

// naive is a caller as one writes it in ten minutes.
func naive(ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+n.Address, strings.NewReader(string(req.Body)))
	if err != nil {
		return nil, err
	}
	r.Header.Set(mucp.HeaderEndpoint, req.Endpoint)
	for k, v := range req.Header {
		r.Header[k] = []string{v}
	}
	r.Header.Set("Content-Type", req.ContentType)
	tr := new(http.Transport)
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return &client.Response{ContentType: req.ContentType, Body: body}, err
}

// broken is micro with a caller that does something else.
type broken struct {
	micro

	breaks func(client.Caller, context.Context, *registry.Node, *client.Request) (*client.Response, error)
}

func (b broken) Caller(t testing.TB, opts *client.Options) client.Caller {
	return brokenCaller{Caller: b.micro.Caller(t, opts), broken: b}
}

type brokenCaller struct {
	client.Caller

	broken broken
}

func (c brokenCaller) Call(ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
	return c.broken.breaks(c.Caller, ctx, n, req)
}

// micro is go-micro's RPC, and a server that answers as v6 does.
type micro struct{}

func (micro) Caller(t testing.TB, opts *client.Options) client.Caller {
	m := client.NewMicro(opts)
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func (micro) Serve(t testing.TB, config *tls.Config, s clienttest.Service) *registry.Node {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serveMicro(w, r, s)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	if config != nil {
		srv.TLS = config
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return &registry.Node{ID: "greeter-1", Address: srv.Listener.Addr().String(), Metadata: map[string]string{"protocol": "mucp"}}
}

func serveMicro(w http.ResponseWriter, r *http.Request, s clienttest.Service) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	h := w.Header()
	call := &clienttest.Call{Header: make(map[string]string)}
	for name, values := range r.Header {
		h[name] = values // as services do
		call.Header[name] = strings.Join(values, ",")
	}
	h.Del("Content-Length")
	contentType := r.Header.Get("Content-Type")
	frame, err := mucp.DecodeRequest(contentType, body)
	if err != nil {
		h.Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "unsupported Content-Type: "+contentType)
		return
	}
	call.Service, call.Endpoint = r.Header.Get(mucp.HeaderService), r.Header.Get(mucp.HeaderEndpoint)
	call.ContentType, call.Body = contentType, frame.Message
	ctx := r.Context()
	if timeout, ok := mucp.ParseTimeout(r.Header.Get(mucp.HeaderTimeout)); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	message, err := s(ctx, call)
	frame = mucp.Frame{ID: frame.ID, Error: errorText(call, err), Message: message}
	if frame.Error != "" {
		mucp.Set(h, mucp.HeaderError, frame.Error)
	}
	if body, err = mucp.EncodeResponse(contentType, frame); err != nil {
		return
	}
	_, _ = w.Write(body)
}

// errorText returns an error as a v6 service writes it.
func errorText(c *clienttest.Call, err error) string {
	var known *goapi.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &known):
		return (&mucp.Error{ID: known.ID, Code: known.Code, Detail: known.Detail}).Text()
	case errors.Is(err, clienttest.ErrNoMethod):
		_, method, _ := strings.Cut(c.Endpoint, ".")
		return "rpc: can't find method " + method
	case errors.Is(err, clienttest.ErrNoMessage):
		return "proto:\u00a0(line 1:16): unknown field \"nosuch\""
	}
	return err.Error()
}
