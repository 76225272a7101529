// Package push brings messages to the services that ask for them: a service
// that announces an endpoint with the metadata subscriber=true, push=true and a
// topic has the topic's messages sent to its nodes by the gateway.
//
// # Delivery
//
// A [Pusher] holds one subscription for each service and topic. Its consumer
// group is the name of the service, so that of all gateways one pushes a message,
// to one node. A group begins with what is published after the service was first
// seen, and where [broker.Capabilities.LastingGroups] is true, keeps its place
// while no node is there. A message is pushed until the service takes it, so it
// may come more than once: services are to know it by its ID.
//
// # Protocols
//
// The endpoint's metadata may say protocol=cloudevents or protocol=micro; else a
// node gets what it speaks. A node of go-micro gets an event: a POST to its RPC
// address with the header Micro-Topic. Any other gets a CloudEvent over HTTP: a
// POST to the endpoint's first path, or "/". A message that is a CloudEvent, in
// whichever way, goes as what it is; any other is the data of one, whose type is
// broker.message and whose source is /topics/ and the topic. Of a message's
// header only what belongs to the event goes with it, and X-Request-Id,
// traceparent and tracestate. Nodes that speak gRPC cannot be pushed to.
//
// # Failures
//
// An answer of 2xx takes the message. After 404, 408, 409, 429 and 5xx, and
// where no answer comes, it is pushed again after a while, or when Retry-After
// says; an error of go-micro counts by its code. After any other answer, or too
// many attempts, it is given up: it becomes a dead letter, a message on a topic
// of its own, with the reason in its header; see [DeadLetter]. As long as no node
// is there it waits, and no attempt is counted. Where [broker.Capabilities.Redelivery]
// is false, it is given up at once.
package push

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
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
	// long after each further one. Default: 500 ms.
	Delay time.Duration
	// MaxDelay bounds that, and what a service may ask for. Default: 5 min.
	MaxDelay time.Duration
	// InFlight is how many messages of one topic are on their way to one service
	// at a time. Default: 64.
	InFlight int
	// DeadLetters is the topic of dead letters. Default: _dead-letters.
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
	d.DeadLetters = cmp.Or(d.DeadLetters, "_dead-letters")
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
	topics    broker.Patterns
	log       *slog.Logger
	transport *http.Transport
	lost      atomic.Bool // contact with the broker, and it was logged

	mu      sync.Mutex
	running map[key]*subscription
}

// New returns a Pusher of b's messages to the nodes that pools has of the
// services that source tells of. It does nothing until Run is called.
func New(b broker.Broker, source Source, pools *upstream.Pools, opts *Options) *Pusher {
	o := opts.orDefault()
	p := &Pusher{
		broker: b, caps: b.Capabilities(), source: source, pools: pools, opts: o,
		topics: broker.NewPatterns(o.Topics...), log: o.Logger, running: make(map[key]*subscription),
	}
	p.transport = newTransport(&client.Options{TLS: o.TLS, DialContext: o.DialContext})
	return p
}

// Run follows the services and pushes until ctx is done, and returns ctx.Err().
// What is on its way then has 5 s to arrive. It is called once.
func (p *Pusher) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}
