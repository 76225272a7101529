package push

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

const (
	// maxHeader bounds the header of an answer: services of go-micro echo what
	// they were sent.
	maxHeader = 512 << 10
	// maxDrained and drainTime bound what is read of an answer's body so that the
	// connection can be kept.
	maxDrained = 64 << 10
	drainTime  = time.Second
)

// newTransport returns what speaks HTTP/1.1 to nodes: over HTTP/2, go-micro
// answers with nothing. It follows no redirect and knows no proxy.
func newTransport(o *Options) *http.Transport {
	nodes := (&client.Options{TLS: o.TLS, DialContext: o.DialContext}).OrDefault()
	nodes.TLS.NextProtos = []string{"http/1.1"}
	var http1 http.Protocols
	http1.SetHTTP1(true)
	return &http.Transport{
		Protocols:              &http1,
		DialContext:            nodes.Dial,
		TLSClientConfig:        nodes.TLS,
		TLSHandshakeTimeout:    nodes.ConnectTimeout,
		DisableCompression:     true,
		MaxIdleConns:           4096,
		MaxIdleConnsPerHost:    max(64, o.InFlight),
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// push makes one attempt at a message: on more than one node, perhaps, but only
// one of them answers. Nil means that the service has taken it.
func (p *Pusher) push(ctx context.Context, to *subscriber, m *broker.Message) error {
	if err := m.Check(); err != nil { // a broker that keeps its word has none such
		return &refusal{reason: "the message has an ID or a header that HTTP cannot carry"}
	}
	pool := p.pools.Pool(to.service)
	if pool == nil {
		return upstream.ErrNoNodes
	}
	set := pool.Set("push\x00"+to.topic+"\x00"+to.endpoint, to.holds)
	call := upstream.Call{
		Policy:     &upstream.Policy{TryTimeout: p.opts.Timeout, Timeout: p.opts.Timeout},
		Idempotent: true, // what is delivered at least once may be delivered twice
		Fits:       to.fits,
	}
	return set.Do(ctx, call, func(ctx context.Context, try *upstream.Try) error {
		return p.attempt(ctx, try, to, m)
	})
}

// attempt pushes a message to one node.
func (p *Pusher) attempt(ctx context.Context, try *upstream.Try, to *subscriber, m *broker.Message) error {
	w := to.ways[try.Node.ID]
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { try.Sent() }}
	req, err := w.request(httptrace.WithClientTrace(ctx, trace), try.Node, m)
	if err != nil {
		return fmt.Errorf("push: node %s: %w", try.Node.ID, err)
	}
	res, err := p.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer drain(res)
	answer := w.read(res)
	switch {
	case answer == nil:
		return nil
	case answer.status == http.StatusBadGateway, answer.status == http.StatusServiceUnavailable, answer.status == http.StatusGatewayTimeout:
		try.Failed()
	default:
		try.Answered()
	}
	return answer
}

// drain reads what is short and quick of an answer's body, and closes it. That of
// a 101 is the connection: it may never end, and is nothing to read.
func drain(res *http.Response) {
	defer res.Body.Close()
	if res.StatusCode < http.StatusOK {
		return
	}
	defer time.AfterFunc(drainTime, func() { _ = res.Body.Close() }).Stop()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxDrained)) // if it fails the connection is not kept
}

// request returns the request that a message is.
func (w way) request(ctx context.Context, n *registry.Node, m *broker.Message) (*http.Request, error) {
	url := "http://" + n.Address
	if client.Secure(n) {
		url = "https://" + n.Address
	}
	var (
		header http.Header
		path   = "/"
		body   = m.Body
	)
	if w.protocol == protocolMicro {
		header = microEvent(m)
	} else {
		path = w.path
		header, body = cloudEvent(m)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if req.URL.Host != n.Address {
		return nil, fmt.Errorf("address %q is not host:port", n.Address)
	}
	req.Header = header
	req.Header["User-Agent"] = nil // none, rather than net/http's
	// None is sent, but a connection that the node has closed meanwhile costs no
	// attempt: net/http takes another.
	req.Header["Idempotency-Key"] = nil
	return req, nil
}

// read returns nil for an answer that takes the message. Its body is nothing to
// go by.
func (w way) read(res *http.Response) *refusal {
	if w.protocol == protocolMicro {
		if e := microError(res.Header); e != nil {
			return e
		}
	}
	if res.StatusCode >= 200 && res.StatusCode <= 299 {
		return nil
	}
	reason := fmt.Sprintf("the service answered %d", res.StatusCode)
	if text := http.StatusText(res.StatusCode); text != "" {
		reason += " " + text
	}
	return &refusal{status: res.StatusCode, after: retryAfter(res), reason: reason}
}
