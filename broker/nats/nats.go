// Package nats carries messages over NATS: with JetStream, which stores them,
// or without.
//
// With JetStream, all topics are subjects of one stream, the prefix before the
// topic, and Publish returns once the stream has stored the message. Those that
// are a gateway's own, such as _dead-letters, are in a stream beside it, with
// "-own" behind the names of stream and prefix: what others publish cannot push
// them out. A group is
// a durable consumer; a subscription without one has a consumer for as long as
// it is open. Positions are places in the stream. What is acknowledged outlives
// the end of either side. The stream is made by whoever comes first; one that
// is there already is used as it is, or refused with what is wrong with it.
//
// Without JetStream, messages go to who subscribes at the moment, at most once,
// and there is no history. With "+micro" after the scheme they do, too, in the
// format of go-micro, on the subject that is the topic.
//
// Else, on the wire, body and header are the message's own. The ID travels in
// Nats-Msg-Id with the topic before it, since a stream knows IDs whatever the
// subject, and the time in Goapi-Time. A name in the header that means something
// to NATS has "!" before it. So other programs publish to and receive from the
// same subjects.
package nats

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/nats"
)

const (
	// callTimeout bounds a call of the server.
	callTimeout = 5 * time.Second
	// minPull is how much is asked for at a time, at least, in bytes.
	minPull = 1 << 20
	// rushBytes bounds what is asked for of the messages that the server has
	// already, by all subscriptions together, and maxRush how many ask at a time.
	// A server ends a connection that has 64 MiB to read.
	rushBytes = 24 << 20
	maxRush   = 16
)

// Options adjust a broker. A nil *Options means all defaults.
type Options struct {
	// Conns opens the connection; it is not closed by the broker. Default: one
	// of the broker's own, which has no embedded server.
	Conns *nats.Conns
	// Logger gets what cannot be returned. Default: none.
	Logger *slog.Logger
}

func (o *Options) orDefault() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Conns == nil {
		d.Conns = &nats.Conns{Logger: d.Logger}
	}
	return d
}

// A Broker carries messages over one connection. It may be used concurrently.
type Broker struct {
	conn   *nats.Conn
	js     jetstream.JetStream // nil without JetStream
	config config
	caps   broker.Capabilities
	log    *slog.Logger

	answers answers   // of the streams
	wires   sync.Pool // of *wire

	life context.Context // until Close
	end  context.CancelFunc
	done chan struct{} // closed when follow has ended
	rush chan struct{} // holds a value for each request for messages that the server has

	mu      sync.Mutex
	contact context.Context        // until the connection is lost
	subs    map[io.Closer]struct{} // that are open; nil once the broker is closed
}

var _ broker.Broker = (*Broker)(nil)

// Open connects to the server of u and sees to the stream. The context bounds
// the call; the caller closes the broker.
//
// URLs are those of [nats.Conns.Open]; those whose scheme ends in "+micro" have
// no other parameters. Others have these: prefix, which begins all
// subjects (default events); jetstream (default true); and, with JetStream,
// stream (default EVENTS), replicas, the number of servers of a cluster that
// hold a copy (default 1), max_age (default 168h) and max_bytes (default
// 1073741824), of which either may be 0 for no bound; topics of a gateway's own
// have a quarter of it beside. The latter three are for streams that are made;
// those that are there keep what they have.
func Open(ctx context.Context, u *url.URL, opts *Options) (*Broker, error) {
	o := opts.orDefault()
	cfg, err := configOf(u)
	if err != nil {
		return nil, err
	}
	server, own := cfg.server(u)
	conn, err := o.Conns.Open(ctx, server, own...)
	if errors.Is(err, nats.ErrUnavailable) {
		return nil, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	if err != nil {
		return nil, err
	}
	b := &Broker{conn: conn, config: cfg, log: o.Logger, done: make(chan struct{}), subs: make(map[io.Closer]struct{})}
	b.rush = make(chan struct{}, min(max(rushBytes/b.pullBytes(), 1), maxRush))
	b.life, b.end = context.WithCancel(context.Background())
	b.contact = b.life
	go b.follow(conn.StatusChanged(natsgo.CONNECTED, natsgo.RECONNECTING, natsgo.CLOSED))
	if err := b.prepare(ctx); err != nil {
		_ = b.Close() // the error above says more
		return nil, err
	}
	return b, nil
}

// CheckURL returns why Open would refuse a URL, as far as that shows without a
// connection. Files that the URL names are read.
func CheckURL(u *url.URL) error {
	cfg, err := configOf(u)
	if err != nil {
		return err
	}
	server, own := cfg.server(u)
	return nats.CheckURL(server, own...)
}

// Expected returns what a broker of a URL promises on a server that has its
// defaults: what to go by while none can be reached.
func Expected(u *url.URL) (broker.Capabilities, error) {
	cfg, err := configOf(u)
	if err != nil {
		return broker.Capabilities{}, err
	}
	return cfg.promises(defaultPayload), nil
}

// configOf returns what is the broker's own in a URL.
func configOf(u *url.URL) (config, error) {
	cfg, err := parse(u)
	if err != nil {
		return config{}, fmt.Errorf("broker: %s: %w", nats.Redact(u), err)
	}
	return cfg, nil
}

// pullBytes returns how much is asked for at a time: a message of any size, or
// some.
func (b *Broker) pullBytes() int { return max(int(b.conn.MaxPayload())+headerRoom, minPull) }

// prepare finds out what the broker can promise.
func (b *Broker) prepare(ctx context.Context) error {
	b.caps = b.config.promises(b.conn.MaxPayload())
	if !b.config.jetstream {
		return nil
	}
	js, err := jetstream.New(b.conn.Conn)
	if err != nil {
		return err
	}
	b.js = js
	if err := b.answers.open(b.conn.Conn); err != nil {
		return err
	}
	return b.openShelves(ctx)
}

// openShelves sees to the streams.
func (b *Broker) openShelves(ctx context.Context) error {
	var all, own jetstream.Stream
	var made bool
	err := b.call(ctx, func(ctx context.Context) error {
		var err error
		if all, _, err = b.stream(ctx, &b.config.shelf); err != nil {
			return err
		}
		b.caps = capabilities(all.CachedInfo().Config, b.caps)
		if b.config.own.in(all.CachedInfo().Config) { // as its operator wants it
			b.config.own.stream, b.config.own.stored = b.config.stream, b.config.stored
			return nil
		}
		own, made, err = b.stream(ctx, &b.config.own)
		return err
	})
	if err != nil || !made {
		return err
	}
	if err := b.move(ctx, all, own); err != nil {
		b.log.Warn("messages of an earlier version stay where they were", slog.String("stream", b.config.stream),
			slog.String("topics", "_…"), slog.Any("error", err))
	}
	return nil
}

// Capabilities implements [broker.Broker].
func (b *Broker) Capabilities() broker.Capabilities { return b.caps }

// Publish implements [broker.Publisher].
func (b *Broker) Publish(ctx context.Context, topic string, m *broker.Message) error {
	if err := b.checkTopic(topic); err != nil {
		return err
	}
	w, ok := b.wires.Get().(*wire)
	if !ok {
		w = &wire{Msg: natsgo.Msg{Header: make(natsgo.Header)}}
	}
	defer func() {
		w.clear()
		b.wires.Put(w)
	}()
	err := b.config.encode(w, topic, m)
	if err != nil {
		return err
	}
	if size := m.Size(); size > b.caps.MaxMessage {
		return fmt.Errorf("%w: %d bytes on topic %q; the NATS server takes %d", broker.ErrTooLarge, size, topic, b.caps.MaxMessage)
	}
	if b.js == nil {
		err = b.call(ctx, func(ctx context.Context) error { return b.send(ctx, &w.Msg) })
	} else if err = b.reachable(ctx); err == nil {
		contact := b.getContact()
		err = b.meaning(ctx, contact, b.store(ctx, b.config.shelfOf(topic), w))
	}
	if isTooLarge(err) { // names in the header may take more than they count, and a header less than a body
		return fmt.Errorf("%w: %d bytes on topic %q: %w", broker.ErrTooLarge, m.Size(), topic, err)
	}
	return err
}

// Subscribe implements [broker.Subscriber].
func (b *Broker) Subscribe(ctx context.Context, topic string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
	if err := b.checkTopic(topic); err != nil {
		return nil, err
	}
	o, err := opts.For(b.caps)
	if err != nil {
		return nil, err
	}
	if b.js == nil {
		return b.subscribeCore(ctx, topic, o)
	}
	return b.subscribeStream(ctx, topic, o)
}

// Last implements [broker.Broker].
func (b *Broker) Last(ctx context.Context, topic string) (position string, err error) {
	if err := b.checkTopic(topic); err != nil {
		return "", err
	}
	if b.js == nil {
		return "", fmt.Errorf("%w: this broker has no history", broker.ErrOptions)
	}
	err = b.call(ctx, func(ctx context.Context) error {
		s, _, err := b.stream(ctx, b.config.shelfOf(topic))
		if err != nil {
			return err
		}
		position, err = lastOf(ctx, s, b.config.subject(topic))
		return err
	})
	return position, err
}

// checkTopic keeps topics from subjects that belong to NATS, such as _INBOX.x,
// which a topic can only reach without a prefix. Those that are a gateway's own
// begin with _ too.
func (b *Broker) checkTopic(topic string) error {
	if err := broker.CheckTopic(topic); err != nil {
		return err
	}
	if b.config.prefix == "" && len(topic) > 1 && topic[0] == '_' && 'A' <= topic[1] && topic[1] <= 'Z' {
		return fmt.Errorf("%w: %q begins with _ and a capital, which is for NATS itself where subjects have no prefix", broker.ErrTopic, topic)
	}
	return nil
}

// Close ends this use of the connection, and the subscriptions. Closing twice
// is no error.
func (b *Broker) Close() error {
	b.mu.Lock()
	subs := b.subs
	b.subs = nil
	b.mu.Unlock()
	for s := range subs {
		_ = s.Close() // never fails
	}
	b.answers.close()
	b.end()
	<-b.done
	return b.conn.Close()
}

// add notes a subscription, which is closed with the broker.
func (b *Broker) add(s io.Closer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		return broker.ErrClosed
	}
	b.subs[s] = struct{}{}
	return nil
}

// remove is for a subscription that is closed.
func (b *Broker) remove(s io.Closer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subs, s)
}

// follow keeps what is known of the connection, until the broker is closed.
func (b *Broker) follow(status chan natsgo.Status) {
	defer close(b.done)
	defer b.conn.RemoveStatusListener(status)
	lose := b.find()
	for {
		select {
		case <-b.life.Done():
			lose()
			return
		case s := <-status:
			lose()
			if s == natsgo.CONNECTED {
				lose = b.find()
			}
			b.tell(s == natsgo.CONNECTED)
		}
	}
}

// tell tells subscriptions without JetStream, which do not look themselves,
// whether there is contact.
func (b *Broker) tell(found bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.subs {
		switch s, ok := s.(*coreSubscription); {
		case !ok:
		case found:
			s.Find()
		default:
			s.Lose()
		}
	}
}

// find notes that there is contact, until lose is called.
func (b *Broker) find() (lose context.CancelFunc) {
	contact, lose := context.WithCancel(b.life)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.contact = contact
	return lose
}

func (b *Broker) getContact() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.contact
}

// usable returns why a call is not to be made, or nil.
func (b *Broker) usable(ctx context.Context) error {
	if b.life.Err() != nil {
		return broker.ErrClosed
	}
	return ctx.Err()
}

// reachable returns why no call can be made, or nil.
func (b *Broker) reachable(ctx context.Context) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	if !b.conn.IsConnected() {
		return fmt.Errorf("%w: there is no connection to NATS", broker.ErrUnavailable)
	}
	return nil
}

// call makes a call of the server, for as long as there is a connection and
// callTimeout at most, and says what its error means.
func (b *Broker) call(ctx context.Context, f func(context.Context) error) error {
	if err := b.reachable(ctx); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	contact := b.getContact()
	defer context.AfterFunc(contact, cancel)()
	return b.meaning(ctx, contact, f(bounded))
}

// meaning returns what the error of a call means, which began with this contact.
func (b *Broker) meaning(ctx, contact context.Context, err error) error {
	var wrong *settingsError
	switch {
	case err == nil, errors.As(err, &wrong), isTooLarge(err), errors.Is(err, broker.ErrPosition), errors.Is(err, broker.ErrUnavailable):
		return err
	case b.life.Err() != nil:
		return broker.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case contact.Err() != nil:
		return errLost
	}
	return fmt.Errorf("%w: NATS: %w", broker.ErrUnavailable, err)
}
