package consul

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/goapi-dev/goapi/internal/urls"
	"github.com/goapi-dev/goapi/registry"
)

const (
	// connectTimeout bounds the making of a connection, and callTimeout a call
	// that does not block.
	connectTimeout = 2 * time.Second
	callTimeout    = 10 * time.Second
	// maxReaders bounds the reads that are under way at a time.
	maxReaders = 8
	// maxAnswer bounds what the agent may answer, in bytes.
	maxAnswer = 256 << 20

	headerToken = "X-Consul-Token" //nolint:gosec // it is the name of a header
	headerIndex = "X-Consul-Index"
)

// errAnswerTooLarge is for an agent that answers more than maxAnswer.
var errAnswerTooLarge = fmt.Errorf("the agent answers more than %d MiB", maxAnswer>>20)

// An agent is a Consul agent that is asked over HTTP.
type agent struct {
	name    string // as errors have it
	base    url.URL
	params  url.Values // of every question
	http    *http.Client
	writer  *api.Agent
	readers chan struct{} // holds a token for each read that is under way
}

// newAgent connects to nobody yet.
func newAgent(t target) (*agent, error) {
	cfg := api.DefaultConfig() // with what the environment says
	if t.token == "" && t.tokenFile == "" {
		t.token, t.tokenFile = cfg.Token, cfg.TokenFile
	}
	cfg.Token, cfg.TokenFile, cfg.HttpAuth = "", "", nil
	cfg.Address, cfg.Scheme = t.address, "http"
	if t.tls != nil {
		cfg.Scheme = "https"
	}
	cfg.HttpClient = newHTTPClient(t)
	client, err := api.NewClient(cfg)
	if err != nil {
		return nil, fmt.Errorf("registry: %s: %w", t.name, err)
	}
	a := &agent{
		name: t.name, base: url.URL{Scheme: cfg.Scheme, Host: t.address}, params: make(url.Values),
		http: cfg.HttpClient, writer: client.Agent(), readers: make(chan struct{}, maxReaders),
	}
	for key, value := range map[string]string{"dc": t.datacenter, "ns": cfg.Namespace, "partition": cfg.Partition} {
		if value != "" {
			a.params.Set(key, value)
		}
	}
	return a, nil
}

// newHTTPClient returns what speaks to the agent of t, and to nobody else.
func newHTTPClient(t target) *http.Client {
	return &http.Client{
		Transport: &bounds{token: t.token, tokenFile: t.tokenFile, base: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSClientConfig:     t.tls,
			TLSHandshakeTimeout: connectTimeout,
			MaxIdleConnsPerHost: 2 * maxReaders,
			IdleConnTimeout:     90 * time.Second,
			DisableCompression:  true, // the agent is near: it would take longer
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// A question is what the agent is asked to tell.
type question struct {
	path   string
	filter string
	// index and wait are those of a blocking query. Index 0 is answered at once.
	index uint64
	wait  time.Duration
}

// ask returns the JSON of the agent's answer, and its index. The context bounds
// it, and the time that the question says. It is not the client's library that
// asks: that would go through what may be very large twice as often.
func (a *agent) ask(ctx context.Context, q question) (data []byte, index uint64, err error) {
	u, params, limit := a.base, maps.Clone(a.params), callTimeout
	u.Path = q.path
	if q.filter != "" {
		params.Set("filter", q.filter)
	}
	if q.index > 0 {
		params.Set("index", strconv.FormatUint(q.index, 10))
		params.Set("wait", q.wait.String())
		limit += q.wait + q.wait/16 // the agent adds so much, to spread those who ask
	}
	u.RawQuery = params.Encode()
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(bounded, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, 0, fmt.Errorf("registry: %s: %w", a.name, err)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, 0, a.failed(ctx, err)
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(resp.Body)
	if err != nil {
		return nil, 0, a.failed(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, 0, &answerError{agent: a.name, code: resp.StatusCode, text: firstLine(string(data))}
	}
	index, err = strconv.ParseUint(resp.Header.Get(headerIndex), 10, 64)
	if err != nil || index == 0 {
		return nil, 0, fmt.Errorf("%w: %s answers without an index; is it an agent of Consul?", registry.ErrUnavailable, a.name)
	}
	return data, index, nil
}

// read is ask for one of many: no more than maxReaders are under way.
func (a *agent) read(ctx context.Context, q question) ([]byte, uint64, error) {
	select {
	case a.readers <- struct{}{}:
		defer func() { <-a.readers }()
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	return a.ask(ctx, q)
}

// tell has the agent do something.
func (a *agent) tell(ctx context.Context, f func(ctx context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := f(bounded); err != nil {
		return a.failed(ctx, err)
	}
	return nil
}

// failed returns what the error of a call means.
func (a *agent) failed(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if status, ok := errors.AsType[api.StatusError](err); ok {
		return &answerError{agent: a.name, code: status.Code, text: firstLine(status.Body)}
	}
	if call, ok := errors.AsType[*url.Error](err); ok {
		err = call.Err // the question is of no interest
	}
	return fmt.Errorf("%w: %s: %w", registry.ErrUnavailable, a.name, err)
}

// close closes the connections that are idle; the others end with their calls.
func (a *agent) close() { a.http.CloseIdleConnections() }

// An answerError is an answer that is no success. It counts as ErrUnavailable:
// servers elect a leader, and tokens are given rights.
type answerError struct {
	agent string
	code  int
	text  string
}

func (e *answerError) Error() string {
	if e.code == http.StatusForbidden {
		return fmt.Sprintf("%v: %s refuses our token; give it the rights that it lacks: %s", registry.ErrUnavailable, e.agent, e.text)
	}
	return fmt.Sprintf("%v: %s answers %d: %s", registry.ErrUnavailable, e.agent, e.code, e.text)
}

func (e *answerError) Unwrap() error { return registry.ErrUnavailable }

// firstLine returns the start of a text of the agent's, for an error of one
// line.
func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return fmt.Sprintf("%.300q", s)
}

// bounds is how the agent is spoken to: with a token, and for answers of some
// size.
type bounds struct {
	base      *http.Transport
	token     string
	tokenFile string
}

// RoundTrip implements [http.RoundTripper]. The token file is read each time:
// tokens are exchanged while we run.
func (b *bounds) RoundTrip(req *http.Request) (*http.Response, error) {
	token := b.token
	if b.tokenFile != "" {
		var err error
		if token, err = urls.Secret(urls.TokenFile, b.tokenFile); err != nil {
			return nil, err
		}
	}
	if token != "" {
		req = req.Clone(req.Context())
		req.Header.Set(headerToken, token)
	}
	resp, err := b.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxAnswer}
	return resp, nil
}

// CloseIdleConnections is what [http.Client] looks for.
func (b *bounds) CloseIdleConnections() { b.base.CloseIdleConnections() }

// boundedBody fails when more than so many bytes are read.
type boundedBody struct {
	io.ReadCloser

	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errAnswerTooLarge
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}
