package push_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

const patience = 20 * time.Second

// A gateway is what runs around a Pusher.
type gateway struct {
	*push.Pusher
	*tap

	registry registry.Registry
	log      *logs
	stop     func()
}

// start runs a gateway until the test ends. Unless the options say otherwise all
// topics are pushed, and attempts follow each other quickly.
func start(t testing.TB, b broker.Broker, opts push.Options) *gateway {
	t.Helper()
	return join(t, new(registry.Memory), b, opts)
}

// join is start for a gateway of a registry that others use, too.
func join(t testing.TB, reg registry.Registry, b broker.Broker, opts push.Options) *gateway {
	t.Helper()
	g := &gateway{tap: newTap(b), registry: reg, log: &logs{more: make(chan struct{}, 1)}}
	if opts.Topics == nil {
		opts.Topics = []string{"**"}
	}
	if opts.Delay == 0 {
		opts.Delay, opts.MaxDelay = time.Millisecond, 10*time.Millisecond
	}
	opts.Logger = slog.New(g.log)
	pools := upstream.NewPools(nil)
	live := router.NewLive(g.registry, pools, nil)
	g.Pusher = push.New(g.tap, live, pools, &opts)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = live.Run(ctx) })
	running.Go(func() {
		if err := g.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want context.Canceled", err)
		}
	})
	g.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(g.stop)
	return g
}

// announce announces a node of a service. The metadata of its endpoint, pairs, is
// beside subscriber and push.
func (g *gateway) announce(t testing.TB, service string, n *node, topic string, pairs ...string) {
	t.Helper()
	md := map[string]string{"subscriber": "true", "push": "true", "topic": topic}
	for i := 0; i < len(pairs); i += 2 {
		md[pairs[i]] = pairs[i+1]
	}
	g.register(t, &registry.Service{
		Name: service, Nodes: []*registry.Node{n.announced(service)},
		Endpoints: []*registry.Endpoint{{Name: "On" + topic, Metadata: md}},
	})
}

func (g *gateway) register(t testing.TB, s *registry.Service) {
	t.Helper()
	if err := g.registry.Register(t.Context(), s, 0); err != nil {
		t.Fatal(err)
	}
}

// withdraw withdraws a node, and waits until its topic is not pushed any more.
func (g *gateway) withdraw(t testing.TB, service string, n *node) {
	t.Helper()
	if err := g.registry.Deregister(t.Context(), &registry.Service{Name: service, Nodes: []*registry.Node{n.announced(service)}}); err != nil {
		t.Fatal(err)
	}
	receive(t, g.closed)
}

// subscribed waits until there is a subscription to each topic.
func (g *gateway) subscribed(t testing.TB, topics ...string) {
	t.Helper()
	for _, topic := range topics {
		if got := receive(t, g.opened); got != topic {
			t.Fatalf("subscribed to %q, want %q", got, topic)
		}
	}
}

// publish publishes a message with a text and a header as pairs.
func (g *gateway) publish(t testing.TB, topic, id, body string, header ...string) {
	t.Helper()
	m := &broker.Message{ID: id, Body: []byte(body), Header: make(map[string]string)}
	for i := 0; i < len(header); i += 2 {
		m.Header[header[i]] = header[i+1]
	}
	if err := g.Publish(t.Context(), topic, m); err != nil {
		t.Fatal(err)
	}
}

// letters subscribes to dead letters from the beginning, and returns a function
// that waits for the next.
func (g *gateway) letters(t testing.TB) func() *broker.Delivery {
	t.Helper()
	s, err := g.tap.Broker.Subscribe(t.Context(), "_dead-letters", &broker.SubscribeOptions{Start: broker.Start{Earliest: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return func() *broker.Delivery {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		d, err := s.Next(ctx)
		if err == nil {
			err = d.Ack(ctx)
		}
		if err != nil {
			t.Fatalf("waiting for a dead letter: %v", err)
		}
		return d
	}
}

// A tap is a broker that tells of subscriptions of groups, and that can fail.
type tap struct {
	broker.Broker

	opened, closed chan string // topics

	mu        sync.Mutex
	caps      broker.Capabilities
	publishes func(topic string) error
	reads     []broker.SubscribeOptions // of the topic of dead letters
	subscribe func() error
	next      func() error
	last      func() error
}

func newTap(b broker.Broker) *tap {
	if known, ok := b.(*tap); ok {
		return known
	}
	return &tap{Broker: b, caps: b.Capabilities(), opened: make(chan string, 10_000), closed: make(chan string, 10_000)}
}

func (b *tap) Capabilities() broker.Capabilities { return b.caps }

// fail has a call fail from here on; nil ends that.
func (b *tap) fail(what *func() error, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*what = func() error { return err }
}

func (b *tap) failing(what *func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if *what == nil {
		return nil
	}
	return (*what)()
}

func (b *tap) Last(ctx context.Context, topic string) (string, error) {
	if err := b.failing(&b.last); err != nil {
		return "", err
	}
	return b.Broker.Last(ctx, topic)
}

func (b *tap) Publish(ctx context.Context, topic string, m *broker.Message) error {
	b.mu.Lock()
	fails := b.publishes
	b.mu.Unlock()
	if fails != nil {
		if err := fails(topic); err != nil {
			return err
		}
	}
	return b.Broker.Publish(ctx, topic, m)
}

func (b *tap) Subscribe(ctx context.Context, topic string, o *broker.SubscribeOptions) (broker.Subscription, error) {
	if err := b.failing(&b.subscribe); err != nil {
		return nil, err
	}
	s, err := b.Broker.Subscribe(ctx, topic, o)
	if strings.HasPrefix(topic, "_") {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.reads = append(b.reads, *o)
		return s, err
	}
	if err != nil {
		return s, err
	}
	b.opened <- topic
	return &tapped{s, b, topic}, nil
}

type tapped struct {
	broker.Subscription

	tap   *tap
	topic string
}

func (s *tapped) Next(ctx context.Context) (*broker.Delivery, error) {
	if err := s.tap.failing(&s.tap.next); err != nil {
		return nil, err
	}
	return s.Subscription.Next(ctx)
}

func (s *tapped) Close() error {
	err := s.Subscription.Close()
	s.tap.closed <- s.topic
	return err
}

// A request is one that a node was sent.
type request struct {
	*http.Request

	body string
}

// A node is a server that tells what it was sent.
type node struct {
	addr     string
	metadata map[string]string
	came     chan request
}

// serve runs a node until the test ends. It answers what answer does; nil is 204.
func serve(t testing.TB, answer http.HandlerFunc) *node {
	t.Helper()
	n := newNode()
	s := httptest.NewServer(n.handler(answer))
	t.Cleanup(s.Close)
	n.addr = s.Listener.Addr().String()
	return n
}

func newNode() *node { return &node{came: make(chan request, 10_000)} }

func (n *node) handler(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			body = []byte(err.Error())
		}
		n.came <- request{r.Clone(r.Context()), string(body)}
		if answer == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		answer(w, r)
	}
}

// of returns the node with other metadata.
func (n *node) of(pairs ...string) *node {
	c := *n
	c.metadata = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		c.metadata[pairs[i]] = pairs[i+1]
	}
	return &c
}

func (n *node) announced(service string) *registry.Node {
	return &registry.Node{ID: service + "-" + n.addr, Address: n.addr, Metadata: maps.Clone(n.metadata)}
}

// ids returns the ce-id of the next requests, sorted.
func (n *node) ids(t testing.TB, count int) []string {
	t.Helper()
	ids := make([]string, count)
	for i := range ids {
		ids[i] = receive(t, n.came).Header.Get("Ce-Id")
	}
	slices.Sort(ids)
	return ids
}

// statuses answers with these one after the other, and then with 204.
func statuses(codes ...int) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		code := http.StatusNoContent
		if len(codes) > 0 {
			code, codes = codes[0], codes[1:]
		}
		w.WriteHeader(code)
	}
}

// always answers with the same status.
func always(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// receive waits for a value.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("nothing came within %v", patience)
		return *new(T)
	}
}

// wantNone checks that nothing came.
func wantNone(t testing.TB, n *node) {
	t.Helper()
	select {
	case r := <-n.came:
		t.Errorf("there came %s %s %v %q, want nothing", r.Method, r.URL, r.Header, r.body)
	default:
	}
}

// logs is a slog.Handler that keeps lines.
type logs struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }

func (l *logs) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.Key + "=" + a.Value.String()
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	select {
	case l.more <- struct{}{}:
	default:
	}
	return nil
}

// count returns how many lines have all of the texts.
func (l *logs) count(texts ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.lines {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			n++
		}
	}
	return n
}

// wait waits for a line with all of the texts.
func (l *logs) wait(t testing.TB, texts ...string) {
	t.Helper()
	deadline := time.After(patience)
	for l.count(texts...) == 0 {
		select {
		case <-l.more:
		case <-deadline:
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Fatalf("no line of the log has %q:\n%s", texts, strings.Join(l.lines, "\n"))
		}
	}
}

// A network connects by pipes, so that the time within a bubble can pass.
type network struct {
	mu    sync.Mutex
	nodes map[string]*pipes
}

type pipes struct {
	addr   string
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newNetwork() *network { return &network{nodes: make(map[string]*pipes)} }

// serve is like the function of that name, for a node at an address.
func (w *network) serve(t testing.TB, addr string, answer http.HandlerFunc) (n *node, stop func()) {
	t.Helper()
	n = newNode()
	n.addr = addr
	l := &pipes{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	w.mu.Lock()
	w.nodes[addr] = l
	w.mu.Unlock()
	s := &http.Server{Handler: n.handler(answer), ReadHeaderTimeout: time.Hour}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(l)
	}()
	stop = sync.OnceFunc(func() {
		_ = s.Close()
		<-ended
	})
	t.Cleanup(stop)
	return n, stop
}

func (w *network) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	w.mu.Lock()
	l := w.nodes[addr]
	w.mu.Unlock()
	if l == nil {
		return nil, errors.New("no node at " + addr)
	}
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, errors.New("connection refused by " + addr)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.close()
	return nil
}

func (l *pipes) Addr() net.Addr { return pipeAddr(l.addr) }

type pipeAddr string

func (a pipeAddr) Network() string { return "pipe" }
func (a pipeAddr) String() string  { return string(a) }
