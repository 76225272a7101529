package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

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

	headerToken = "X-Consul-Token"
)

// errAnswerTooLarge is for an agent that answers more than maxAnswer.
var errAnswerTooLarge = fmt.Errorf("the agent answers more than %d MiB", maxAnswer>>20)

// An agent is a Consul agent that is asked over HTTP.
type agent struct {
	name       string // as errors have it
	client     *api.Client
	transport  *http.Transport
	datacenter string
	readers    chan struct{} // holds a token for each read that is under way
}

// newAgent connects to nobody yet.
func newAgent(t target) (*agent, error) {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSClientConfig:     t.tls,
		TLSHandshakeTimeout: connectTimeout,
		MaxIdleConnsPerHost: 2 * maxReaders,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true, // the agent is near: it would take longer
	}
	scheme := "http"
	if t.tls != nil {
		scheme = "https"
	}
	client, err := api.NewClient(&api.Config{
		Address:    t.address,
		Scheme:     scheme,
		HttpClient: &http.Client{Transport: &bounds{base: transport, token: t.token, tokenFile: t.tokenFile}},
	})
	if err != nil {
		return nil, fmt.Errorf("registry: %s: %w", t.name, err)
	}
	return &agent{
		name: t.name, client: client, transport: transport, datacenter: t.datacenter,
		readers: make(chan struct{}, maxReaders),
	}, nil
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
// it, and the time that the question says.
func (a *agent) ask(ctx context.Context, q question) (data json.RawMessage, index uint64, err error) {
	patience := callTimeout
	if q.index > 0 {
		patience += q.wait + q.wait/16 // the agent adds so much, to spread those who ask
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	opts := &api.QueryOptions{Datacenter: a.datacenter, Filter: q.filter, WaitIndex: q.index, WaitTime: q.wait}
	meta, err := a.client.Raw().Query(q.path, &data, opts.WithContext(bounded))
	if err != nil {
		return nil, 0, a.failed(ctx, err)
	}
	return data, meta.LastIndex, nil
}

// read is ask for one of many: no more than maxReaders are under way.
func (a *agent) read(ctx context.Context, q question) (json.RawMessage, uint64, error) {
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
	return fmt.Errorf("%w: %s: %w", registry.ErrUnavailable, a.name, err)
}

// close closes the connections that are idle; the others end with their calls.
func (a *agent) close() { a.transport.CloseIdleConnections() }

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
	base      http.RoundTripper
	token     string
	tokenFile string
}

// RoundTrip implements [http.RoundTripper]. The token file is read each time:
// tokens are exchanged while we run.
func (b *bounds) RoundTrip(req *http.Request) (*http.Response, error) {
	token := b.token
	if b.tokenFile != "" {
		var err error
		if token, err = readToken(b.tokenFile); err != nil {
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
