package micro

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/internal/urls"
	"github.com/goapi-dev/goapi/registry"
)

const (
	// maxMessage bounds a message.
	maxMessage = 1 << 20
	// postTimeout bounds the delivery to one subscriber, and posts how many are
	// delivered to at a time.
	postTimeout = 5 * time.Second
	posts       = 16
)

// HTTPOptions adjust an HTTP broker. A nil *HTTPOptions means all defaults.
type HTTPOptions struct {
	// Client posts messages to subscribers. The registry says where they are,
	// so it should not go everywhere. Default: one without proxy and redirects,
	// which trusts the certificates that the system trusts.
	Client *http.Client
	// TTL is how long a subscription outlives its process in the registry.
	// Default: 30 s.
	TTL time.Duration
	// Logger gets what cannot be returned. Default: none.
	Logger *slog.Logger
}

func (o *HTTPOptions) orDefault() HTTPOptions {
	var d HTTPOptions
	if o != nil {
		d = *o
	}
	if d.Client == nil {
		d.Client = &http.Client{
			Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext, IdleConnTimeout: 30 * time.Second},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if d.TTL == 0 {
		d.TTL = 30 * time.Second
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

// HTTP is go-micro's HTTP broker. Who subscribes says so in a registry, and who
// publishes posts to each of those that are there, at most once: there is no
// system in between. It may be used concurrently.
//
// Publishers of v1.13 to v1.17 look for a service with the name of the topic.
// While there is one whose nodes are no subscribers they do not find a
// subscription of ours.
type HTTP struct {
	reg       registry.Registry
	opts      HTTPOptions
	server    *http.Server
	advertise string // host:port

	life  context.Context // until Close
	end   context.CancelFunc
	tasks sync.WaitGroup

	mu   sync.Mutex
	subs map[string]*httpSubscription // by node id; nil once the broker is closed
}

var _ broker.Broker = (*HTTP)(nil)

// OpenHTTP listens for messages, and finds and announces subscriptions in a
// registry. The context bounds the call; the caller closes the broker, before
// the registry.
//
// URLs are http+micro://host:port, where to listen (default 127.0.0.1, any
// port), with these parameters: advertise, the host:port that others reach it at
// (default: where it listens), and verify (default true), which may be false so
// that subscribers with any certificate are posted to: those of go-micro make
// their own where they are secure. They can then be taken for others by whoever is
// between.
func OpenHTTP(ctx context.Context, u *url.URL, reg registry.Registry, opts *HTTPOptions) (*HTTP, error) {
	cfg, err := parseHTTP(u)
	if err != nil {
		return nil, fmt.Errorf("broker: %s: %w", urls.Redact(u), err)
	}
	o := opts.orDefault()
	if !cfg.verify {
		if o.Client, err = trusting(o.Client); err != nil {
			return nil, fmt.Errorf("broker: %s: %w", urls.Redact(u), err)
		}
	}
	address, advertise := cfg.address, cfg.advertise
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("broker: %s: %w", urls.Redact(u), err)
	}
	if advertise == "" {
		advertise = l.Addr().String()
	}
	h := &HTTP{reg: reg, opts: o, advertise: advertise, subs: make(map[string]*httpSubscription)}
	h.life, h.end = context.WithCancel(context.Background())
	h.server = &http.Server{
		Handler:           http.HandlerFunc(h.serve),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(h.opts.Logger.Handler(), slog.LevelDebug),
	}
	h.tasks.Go(func() { _ = h.server.Serve(l) }) // ends with Close
	h.tasks.Go(h.renew)
	return h, nil
}

// CheckHTTPURL returns why OpenHTTP would refuse a URL, as far as that shows
// without listening.
func CheckHTTPURL(u *url.URL) error {
	if _, err := parseHTTP(u); err != nil {
		return fmt.Errorf("broker: %s: %w", urls.Redact(u), err)
	}
	return nil
}

// httpConfig is what a URL says of an HTTP broker.
type httpConfig struct {
	address   string // where to listen
	advertise string // may be empty
	verify    bool   // the certificates of subscribers
}

// parseHTTP reads a URL.
func parseHTTP(u *url.URL) (httpConfig, error) {
	none := httpConfig{}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return none, fmt.Errorf("malformed parameters: %w", err)
	}
	for name, values := range query {
		if name != "advertise" && name != "verify" || len(values) > 1 {
			return none, fmt.Errorf("unknown or repeated parameter %q; known: advertise, verify", name)
		}
	}
	if u.Opaque != "" || u.User != nil || u.Path != "" || u.Fragment != "" {
		return none, errors.New("it has parts that mean nothing; want http+micro://host:port?advertise=host:port")
	}
	c := httpConfig{address: cmp.Or(u.Host, "127.0.0.1:0"), advertise: query.Get("advertise"), verify: true}
	if query.Has("verify") {
		if c.verify, err = strconv.ParseBool(query.Get("verify")); err != nil {
			return none, fmt.Errorf("verify %q is neither true nor false", query.Get("verify"))
		}
	}
	host, _, err := net.SplitHostPort(c.address)
	if err != nil {
		return none, err
	}
	if ip := net.ParseIP(host); c.advertise == "" && (host == "" || ip != nil && ip.IsUnspecified()) {
		return none, fmt.Errorf("it listens at all addresses of this machine; say with advertise=host:port which of them others are to use")
	}
	return c, nil
}

// trusting returns a client that takes any certificate.
func trusting(c *http.Client) (*http.Client, error) {
	t, ok := c.Transport.(*http.Transport)
	if !ok {
		return nil, errors.New("verify=false needs a client whose transport is a *http.Transport")
	}
	t = t.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = new(tls.Config)
	}
	t.TLSClientConfig.InsecureSkipVerify = true // it is what was asked for
	trusts := *c
	trusts.Transport = t
	return &trusts, nil
}

// Capabilities implements [broker.Broker].
func (h *HTTP) Capabilities() broker.Capabilities {
	return broker.Capabilities{Ordered: true, Groups: true, MaxMessage: maxMessage}
}

// Last implements [broker.Broker]: there is no history.
func (h *HTTP) Last(ctx context.Context, topic string) (string, error) {
	if err := broker.CheckTopic(topic); err != nil {
		return "", err
	}
	if err := h.usable(ctx); err != nil {
		return "", err
	}
	return "", fmt.Errorf("%w: this broker has no history", broker.ErrOptions)
}

// Publish implements [broker.Publisher]. It returns nil if somebody took the
// message, or nobody subscribes.
func (h *HTTP) Publish(ctx context.Context, topic string, m *broker.Message) error {
	if err := broker.CheckTopic(topic); err != nil {
		return err
	}
	if err := m.Check(); err != nil {
		return err
	}
	if size := m.Size(); size > maxMessage {
		return fmt.Errorf("%w: %d bytes on topic %q; this broker takes %d", broker.ErrTooLarge, size, topic, maxMessage)
	}
	if err := h.usable(ctx); err != nil {
		return err
	}
	whole := *m
	if whole.ID == "" {
		whole.ID = rand.Text()
	}
	if whole.Time.IsZero() {
		whole.Time = time.Now()
	}
	data, err := marshal(topic, &whole, true)
	if err != nil {
		return err
	}
	found, err := h.find(ctx, topic)
	if err != nil {
		return err
	}
	return h.deliver(ctx, topic, found, data)
}

// usable returns why a call is not to be made, or nil.
func (h *HTTP) usable(ctx context.Context) error {
	if h.life.Err() != nil {
		return broker.ErrClosed
	}
	return ctx.Err()
}

// deliver posts a message to all that subscribe without a group, and to one of
// each group.
func (h *HTTP) deliver(ctx context.Context, topic string, found map[string][]target, data []byte) error {
	var mu sync.Mutex
	var taken int
	var failed error
	count := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			taken++
			return
		}
		failed = err
		h.opts.Logger.Warn("subscriber did not take a message", slog.String("topic", topic), slog.Any("error", err))
	}
	var group errgroup.Group
	group.SetLimit(posts)
	for name, targets := range found {
		if name == broadcast {
			for _, t := range targets {
				group.Go(func() error { count(h.post(ctx, t, data)); return nil })
			}
			continue
		}
		group.Go(func() error { count(h.postAny(ctx, targets, data)); return nil })
	}
	_ = group.Wait() // errors are counted
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case failed != nil && taken == 0:
		return fmt.Errorf("%w: no subscriber of topic %q took the message: %w", broker.ErrUnavailable, topic, failed)
	}
	return nil
}

// errNotSent says that a subscriber cannot have got a message.
var errNotSent = errors.New("it was not sent")

// postAny posts to one of a group: to the next only while nothing was sent.
func (h *HTTP) postAny(ctx context.Context, targets []target, data []byte) error {
	var err error
	for _, i := range mrand.Perm(len(targets)) { //nolint:gosec // the choice is no secret
		if err = h.post(ctx, targets[i], data); !errors.Is(err, errNotSent) {
			return err
		}
	}
	return err
}

// post posts to one subscriber, which answers when it has the message.
func (h *HTTP) post(ctx context.Context, t target, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url(), bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	r.Header.Set("Content-Type", "application/json")
	rsp, err := h.opts.Client.Do(r)
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	if rsp.StatusCode >= http.StatusOK { // the body of a 101 is the connection, which may never end
		stop := context.AfterFunc(ctx, func() { _ = rsp.Body.Close() })
		defer stop()
		_, _ = io.Copy(io.Discard, io.LimitReader(rsp.Body, 4096)) // so that the connection can be used again
	}
	if rsp.StatusCode/100 != 2 {
		return fmt.Errorf("subscriber %q at %s answered %s", t.id, t.address, rsp.Status)
	}
	return nil
}

// Close ends the subscriptions, withdraws them, and stops listening. Closing
// twice is no error.
func (h *HTTP) Close() error {
	h.mu.Lock()
	subs := h.subs
	h.subs = nil
	h.mu.Unlock()
	for _, s := range subs {
		_ = s.Close() // never fails
	}
	h.end()
	err := h.server.Close()
	h.tasks.Wait()
	h.opts.Client.CloseIdleConnections()
	return err
}
