package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
)

// ErrNoGateway is returned when nothing listens at the admin address.
var ErrNoGateway = errors.New("no gateway answers there: is one running, and is this its admin address?")

// maxAnswer bounds what the client reads of an answer, in bytes.
const maxAnswer = 256 << 20

// A Client talks to the admin API of a gateway. It may be used concurrently.
//
// An answer that is an error is a *goapi.Error. A gateway that cannot be reached
// is registry.ErrUnavailable, and if nothing listens there, ErrNoGateway too.
type Client struct {
	base  string
	token string
	http  *http.Client
}

var _ registry.Writer = (*Client)(nil)

// NewClient returns a client of the gateway whose admin listener is at
// address, host:port or a URL. An empty token sends none.
func NewClient(address, token string) *Client {
	base := strings.TrimRight(address, "/")
	if !strings.Contains(base, "://") {
		if strings.HasPrefix(base, ":") {
			base = "127.0.0.1" + base
		}
		base = "http://" + base
	}
	return &Client{base: base, token: token, http: &http.Client{
		Timeout: time.Minute,
		// A proxy from the environment would add headers that the admin API refuses.
		Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext},
	}}
}

// Services returns the services that the gateway sees.
func (c *Client) Services(ctx context.Context) ([]Service, error) {
	var services []Service
	err := c.do(ctx, http.MethodGet, "/services", nil, &services)
	return services, err
}

// Routes returns the routing table.
func (c *Client) Routes(ctx context.Context) (*Routes, error) {
	routes := new(Routes)
	err := c.do(ctx, http.MethodGet, "/routes", nil, routes)
	return routes, err
}

// Explain returns how a request would be routed. Headers are "NAME: VALUE".
func (c *Client) Explain(ctx context.Context, method, rawURL string, headers []string) (*Explanation, error) {
	query := url.Values{"method": {method}, "url": {rawURL}, "header": headers}
	e := new(Explanation)
	err := c.do(ctx, http.MethodGet, "/explain?"+query.Encode(), nil, e)
	return e, err
}

// Policies returns what is laid on each announced route.
func (c *Client) Policies(ctx context.Context) ([]RoutePolicies, error) {
	var list []RoutePolicies
	err := c.do(ctx, http.MethodGet, "/policies", nil, &list)
	return list, err
}

// Exposed returns what the public can reach.
func (c *Client) Exposed(ctx context.Context) (*Exposed, error) {
	e := new(Exposed)
	err := c.do(ctx, http.MethodGet, "/exposed", nil, e)
	return e, err
}

// Call calls a method of a service with a JSON request, and returns the JSON
// of its reply: nil for one that is empty.
func (c *Client) Call(ctx context.Context, service, endpoint string, request json.RawMessage) (json.RawMessage, error) {
	if len(request) == 0 {
		request = json.RawMessage("{}")
	}
	body := struct {
		Service  string          `json:"service"`
		Endpoint string          `json:"endpoint"`
		Request  json.RawMessage `json:"request"`
	}{service, endpoint, request}
	var reply json.RawMessage
	err := c.do(ctx, http.MethodPost, "/rpc", body, &reply)
	return reply, err
}

// List returns every version of every service in the gateway's registries, as it
// is announced.
func (c *Client) List(ctx context.Context) ([]*registry.Service, error) {
	var services []*registry.Service
	err := ofRegistry(c.do(ctx, http.MethodGet, "/registry", nil, &services))
	return services, err
}

// Register implements registry.Writer through the gateway's registry. Beyond the
// errors that it knows, a *goapi.Error says that the gateway refuses the client:
// for its token (401), for example.
func (c *Client) Register(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	path := "/registry"
	if ttl > 0 {
		path += "?ttl=" + url.QueryEscape(ttl.String())
	}
	return ofRegistry(c.do(ctx, http.MethodPost, path, s, nil))
}

// Deregister implements registry.Writer through the gateway's registry.
func (c *Client) Deregister(ctx context.Context, s *registry.Service) error {
	return ofRegistry(c.do(ctx, http.MethodDelete, "/registry", s, nil))
}

// do sends in as JSON, if it is not nil, and decodes the answer into out, if
// there is anything in it.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("admin: %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := c.newRequest(ctx, method, path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.answer(req, out)
}

// newRequest returns a request that presents the token.
func (c *Client) newRequest(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("admin: address %s: %w", c.base, err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

// answer sends a request, and decodes the answer into out, if there is anything
// in it.
func (c *Client) answer(req *http.Request, out any) error {
	status, b, err := c.send(req)
	switch {
	case err != nil:
		return err
	case status >= http.StatusBadRequest:
		return answeredError(status, b)
	case out == nil || status == http.StatusNoContent:
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("admin: %s%s does not answer as a gateway's admin API: %w", c.base, req.URL.Path, err)
	}
	return nil
}

// send returns the status and the body of the answer.
func (c *Client) send(req *http.Request) (int, []byte, error) {
	rsp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, unreached(req, err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(rsp.Body, maxAnswer))
	if err != nil {
		return 0, nil, unreached(req, err)
	}
	return rsp.StatusCode, b, nil
}

// unreached returns the error of a request that has no answer.
func unreached(req *http.Request, err error) error {
	if asked, ok := errors.AsType[*url.Error](err); ok {
		err = asked.Err // what was asked is said below
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		err = ErrNoGateway
	}
	err = fmt.Errorf("admin: %s %s: %w", req.Method, req.URL.Redacted(), err)
	if req.Context().Err() != nil {
		return err
	}
	return &registryError{err, registry.ErrUnavailable}
}

// A registryError reads as one error, and is one of package registry's as well.
type registryError struct{ err, kind error }

// Error implements error.
func (e *registryError) Error() string { return e.err.Error() }

// Unwrap returns both errors.
func (e *registryError) Unwrap() []error { return []error{e.err, e.kind} }

// ofRegistry makes an answer of the gateway's registry the error that the
// registry returned there.
func ofRegistry(err error) error {
	var answer *goapi.Error
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.Code {
	case http.StatusBadRequest:
		field, reason, ok := strings.Cut(answer.Detail, ": ")
		if ok && !strings.Contains(field, " ") {
			return &registryError{err, &registry.FieldError{Field: field, Reason: reason}}
		}
	case http.StatusRequestEntityTooLarge:
		return &registryError{err, registry.ErrTooLarge}
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &registryError{err, registry.ErrUnavailable}
	}
	return err
}

// answeredError reads an error that the gateway or a service answered.
func answeredError(status int, body []byte) error {
	e := &goapi.Error{Code: status}
	var b struct{ ID, Detail string }
	if err := json.Unmarshal(body, &b); err != nil || b.Detail == "" {
		b.Detail = strings.TrimSpace(string(body[:min(len(body), 200)]))
	}
	e.ID, e.Detail = b.ID, b.Detail
	return e
}
