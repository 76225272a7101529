// Package push brings messages to the services that ask for them: a service
// that announces an endpoint with the metadata subscriber=true, push=true and a
// topic has the topic's messages sent to its nodes by the gateway. A node may ask
// as well, for all endpoints with subscriber=true, by push=true in its own
// metadata.
//
// # Delivery
//
// A [Pusher] holds one subscription for each service and topic. Its group is the
// name of the service, so that of all gateways one pushes a message, to one node.
// A group begins with what is published after the service was first seen, and
// where [broker.Capabilities.LastingGroups] is true, keeps its place while no
// node is there. A message is pushed until the service takes it, so it may come
// more than once: services are to know it by its ID.
//
// # Protocols
//
// The endpoint's metadata may say protocol=cloudevents or protocol=micro; else
// a node gets what it speaks. A node of go-micro gets an event: a POST to its
// RPC address with the header Micro-Topic. Any other gets a CloudEvent over
// HTTP: a POST to the endpoint's first path, or "/". A message that is a
// CloudEvent, in whichever way, goes as what it is; any other is the data of
// one, whose type is broker.message and whose source is /topics/ and the
// topic. What would go in binary mode, with an attribute that needs escapes
// there, goes in structured mode: not all receivers undo them. Of a message's
// header goes with it what belongs to the event, and X-Request-Id, traceparent
// and tracestate. Nodes that speak gRPC cannot be pushed to.
//
// # Failures
//
// An answer of 2xx takes the message. After 404, 408, 409, 429 and 5xx, and
// where no answer comes, it is pushed again after a while, or when Retry-After
// says; an error of go-micro counts by its code. After any other answer, or too
// many attempts, it is given up: it becomes a dead letter, a message on a topic
// of its own, with the reason in its header; see [DeadLetter]. As long as no node
// is there it waits, and no attempt is counted. Where
// [broker.Capabilities.Redelivery] is false, it is given up at once; where
// [broker.Capabilities.History] is, its dead letter is lost unless somebody
// subscribes to their topic then. A service that fails one message after the other
// is sent fewer of them.
package push

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

const (
	minWait = 100 * time.Millisecond // before what failed is tried again
	maxWait = 10 * time.Second
)

// A Source tells which services there are. What it tells, the pools have
// already: router.Live is one.
type Source interface {
	Watch(ctx context.Context) (registry.Watcher, error)
}

// Options adjust a Pusher. A nil *Options means all defaults.
type Options struct {
	// Topics lists the topics that may be pushed, as [broker.Patterns] has them.
	// The topic of dead letters never is. Default: none.
	Topics []string
	// TLS is for nodes that announce secure=true or scheme=https. Default:
	// verified with the system's roots.
	TLS *tls.Config
	// DialContext connects to a node, within 2 s. A guard that checks the
	// address belongs here. Default: a net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Timeout bounds one attempt, other nodes that it tries included. Default:
	// 30 s.
	Timeout time.Duration
	// MaxAttempts is after how many a message is given up. Default: 12.
	MaxAttempts int
	// Delay is how long a message waits after its first attempt, and twice as
	// long after each further one, less up to half of it. Default: 500 ms.
	Delay time.Duration
	// MaxDelay bounds that, and what a service may ask for. Default: 5 min.
	MaxDelay time.Duration
	// InFlight is how many messages of one topic are on their way to one service
	// at a time. Default: broker.DefaultInFlight.
	InFlight int
	// DeadLetters is the topic of dead letters. Default: DefaultDeadLetters.
	DeadLetters string
	// Logger gets what services are not told. Default: none.
	Logger *slog.Logger
}

func (o *Options) orDefault() Options {
	var d Options
	if o != nil {
		d = *o
	}
	d.Timeout = cmp.Or(max(d.Timeout, 0), 30*time.Second)
	d.MaxAttempts = cmp.Or(max(d.MaxAttempts, 0), 12)
	d.Delay = cmp.Or(max(d.Delay, 0), 500*time.Millisecond)
	d.MaxDelay = cmp.Or(max(d.MaxDelay, 0), 5*time.Minute)
	d.InFlight = min(cmp.Or(max(d.InFlight, 0), broker.DefaultInFlight), broker.MaxInFlight)
	d.DeadLetters = cmp.Or(d.DeadLetters, DefaultDeadLetters)
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

// A Pusher pushes messages to services. It may be used concurrently.
type Pusher struct {
	broker    broker.Broker
	caps      broker.Capabilities
	source    Source
	pools     *upstream.Pools
	opts      Options
	log       *slog.Logger
	transport *http.Transport
	reader    *reader     // used by Run only
	lost      atomic.Bool // contact with the broker, and it was logged

	mu      sync.Mutex
	running map[key]*subscription
	ended   sync.WaitGroup // of those that run, or did
}

// New returns a Pusher of b's messages to the nodes that pools has of the
// services that source tells of. It does nothing until Run is called.
func New(b broker.Broker, source Source, pools *upstream.Pools, opts *Options) *Pusher {
	o := opts.orDefault()
	return &Pusher{
		broker: b, caps: b.Capabilities(), source: source, pools: pools, opts: o, log: o.Logger,
		transport: newTransport(&o), reader: newReader(&o), running: make(map[key]*subscription),
	}
}

// Run follows the services and pushes until ctx is done, and returns ctx.Err().
// What is on its way then has 5 s to arrive. It is called once.
func (p *Pusher) Run(ctx context.Context) error {
	p.warn()
	ctx, stop := context.WithCancel(ctx)
	defer p.transport.CloseIdleConnections()
	defer p.ended.Wait()
	defer stop()
	wait := minWait
	for {
		told, err := p.follow(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if told {
			wait = minWait
		}
		p.log.Warn("services are not followed; what is pushed stays as it is", slog.Any("error", err))
		if err := pause(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, maxWait)
	}
}

// warn logs what those whose topics are pushed may miss on this broker.
func (p *Pusher) warn() {
	if len(p.opts.Topics) == 0 {
		return
	}
	if !p.caps.Redelivery {
		p.log.Warn("messages are pushed once only; the broker delivers none again")
	}
	if !p.caps.History {
		p.log.Warn("messages that a service does not take are lost; the broker keeps no dead letters")
	}
}

// follow watches the source until that fails. It says whether it was told a
// state.
func (p *Pusher) follow(ctx context.Context) (told bool, err error) {
	w, err := p.source.Watch(ctx)
	if err != nil {
		return false, err
	}
	defer w.Close()
	for wait := minWait; ; {
		services, err := w.Next(ctx)
		switch {
		case err == nil:
			told, wait = true, minWait
			p.update(ctx, services)
			continue
		case !errors.Is(err, registry.ErrUnavailable):
			return told, err
		}
		if err := pause(ctx, wait); err != nil {
			return told, err
		}
		wait = min(2*wait, maxWait)
	}
}

// update brings the subscriptions to what is announced.
func (p *Pusher) update(ctx context.Context, services []*registry.Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	subscribers := p.reader.read(services, func(k key) bool { return p.running[k] != nil })
	for k, s := range p.running {
		if subscribers[k] == nil {
			s.stop()
			delete(p.running, k)
			p.log.Info("topic is not pushed any more", slog.String("service", k.service), slog.String("topic", k.topic))
		}
	}
	for k, to := range subscribers {
		if s := p.running[k]; s != nil {
			s.to.Store(to)
			continue
		}
		p.running[k] = p.start(ctx, k, to)
		p.log.Info("topic is pushed", slog.String("service", k.service), slog.String("topic", k.topic), slog.String("endpoint", cut(to.endpoint, 100)))
	}
}

// start starts a subscription.
func (p *Pusher) start(ctx context.Context, k key, to *subscriber) *subscription {
	ctx, stop := context.WithCancel(ctx)
	s := &subscription{Pusher: p, key: k, stop: stop, seen: time.Now(), excused: make(map[string]int)}
	s.to.Store(to)
	p.ended.Go(func() {
		defer stop()
		s.run(ctx)
	})
	return s
}

// away notes that there is no contact with the broker, and logs it unless that
// is known.
func (p *Pusher) away(err error) {
	if p.lost.CompareAndSwap(false, true) {
		p.log.Warn("broker lost; messages are pushed when it is back", slog.Any("error", err))
	}
}

// back notes that there is contact.
func (p *Pusher) back() {
	if p.lost.Load() && p.lost.CompareAndSwap(true, false) {
		p.log.Info("broker found")
	}
}

// pause waits, or returns why ctx is done.
func pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
