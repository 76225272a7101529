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

// ErrNoGateway is returned when nothing answers at the admin address.
var ErrNoGateway = errors.New("no gateway answers there: start one with 'goapi run', or name its admin address with --admin")

// maxAnswer bounds what the client reads of an answer, in bytes.
const maxAnswer = 256 << 20

// A Client talks to the admin API of a gateway. It may be used concurrently.
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

// Call calls a method of a service with a JSON request, and returns the JSON
// of its reply.
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

// Register implements registry.Writer through the gateway's registry.
func (c *Client) Register(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	path := "/registry"
	if ttl > 0 {
		path += "?ttl=" + url.QueryEscape(ttl.String())
	}
	return c.do(ctx, http.MethodPost, path, s, nil)
}

// Deregister implements registry.Writer through the gateway's registry.
func (c *Client) Deregister(ctx context.Context, s *registry.Service) error {
	return c.do(ctx, http.MethodDelete, "/registry", s, nil)
}

// do sends in as JSON, if it is not nil, and decodes the answer into out. An
// answer that is an error is a *goapi.Error.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("admin: %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("admin: address %s: %w", c.base, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	rsp, err := c.http.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: %w", c.base, ErrNoGateway)
	}
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(rsp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("admin: %s %s: %w", method, path, err)
	}
	if rsp.StatusCode >= http.StatusBadRequest {
		return answeredError(rsp.StatusCode, b)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("admin: %s%s does not answer as a gateway's admin API: %w", c.base, path, err)
	}
	return nil
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
