package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// heartbeat is how often the server says that a feed is alive, and patience
	// how long its silence is borne.
	heartbeat = time.Second
	patience  = 3 * heartbeat

	// What the server writes beside messages.
	headerStatus       = "Status"
	headerStalled      = "Nats-Consumer-Stalled"
	headerLastConsumer = "Nats-Last-Consumer"
	statusControl      = "100"
)

// errGap says that messages of a feed were lost on the way.
var errGap = errors.New("registry: messages of NATS were lost")

// A feed is what the server tells of a bucket: the last message of each key,
// then each message as it comes. It is used by one goroutine at a time.
type feed struct {
	registry *Registry
	consumer string
	sub      *natsgo.Subscription
	messages chan *natsgo.Msg
	done     chan struct{}

	heard    time.Time       // when the server was last heard of
	sequence uint64          // how many messages were read
	pending  uint64          // how many of the first complete state are to come
	keys     map[string]bool // those of that state; nil once taken
	position uint64          // in the bucket
	want     uint64          // the position that a complete state has reached
	until    time.Time       // when want is given up
}

// A change is what a message says: the value of a key, or that it is gone. It
// is zero for messages that say nothing.
type change struct {
	key     string
	value   []byte
	removed bool
}

// newFeed starts a feed of a service, or of all if it is "". The caller closes
// it.
func (r *Registry) newFeed(ctx context.Context, service string) (*feed, error) {
	f := &feed{
		registry: r,
		messages: make(chan *natsgo.Msg, 256),
		done:     make(chan struct{}),
		heard:    time.Now(),
		keys:     make(map[string]bool),
		want:     r.writes.latest(service),
		until:    time.Now().Add(settle),
	}
	filter := ">"
	if service != "" {
		filter = keyPrefix(service) + "*"
	}
	inbox := r.conn.NewInbox()
	var err error
	f.sub, err = r.conn.Subscribe(inbox, func(m *natsgo.Msg) {
		select {
		case f.messages <- m: // while nobody reads, the server holds back
		case <-f.done:
		}
	})
	if err != nil {
		return nil, err
	}
	consumer, err := r.js.CreatePushConsumer(ctx, r.bucket.stream(), jetstream.ConsumerConfig{
		DeliverSubject: inbox,
		DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
		FilterSubject:  r.bucket.subject(filter),
		AckPolicy:      jetstream.AckNonePolicy,
		IdleHeartbeat:  heartbeat,
		FlowControl:    true,
		MemoryStorage:  true,
		Replicas:       1,
	})
	if err != nil {
		f.close()
		return nil, err
	}
	info := consumer.CachedInfo()
	f.consumer, f.pending = info.Name, info.NumPending
	return f, nil
}

// close ends the feed.
func (f *feed) close() {
	close(f.done)
	_ = f.sub.Unsubscribe() // fails when the connection is closed, and the feed with it
	if f.consumer == "" {
		return
	}
	// The server would notice by itself, but only after a while. Its answer
	// goes to nobody.
	subject := "$JS.API.CONSUMER.DELETE." + f.registry.bucket.stream() + "." + f.consumer
	_ = f.registry.conn.PublishRequest(subject, f.registry.conn.NewInbox(), nil)
}

// patience returns how much longer the silence of the server is borne.
func (f *feed) patience() time.Duration { return max(time.Until(f.heard.Add(patience)), 0) }

// complete says whether all that was in the bucket at the start was read, what
// this registry wrote before included.
func (f *feed) complete() bool {
	return f.pending == 0 && (f.position >= f.want || time.Now().After(f.until))
}

// takeKeys returns the keys of the first complete state, once.
func (f *feed) takeKeys() map[string]bool {
	keys := f.keys
	f.keys = nil
	return keys
}

// read reads a message. After an error the feed is of no more use.
func (f *feed) read(m *natsgo.Msg) (change, error) {
	f.heard = time.Now()
	switch status := m.Header.Get(headerStatus); status {
	case "":
		return f.data(m)
	case statusControl:
		return change{}, f.control(m)
	default:
		return change{}, fmt.Errorf("registry: NATS ended the feed: %s %s", status, m.Header.Get("Description"))
	}
}

// data reads a message of the bucket.
func (f *feed) data(m *natsgo.Msg) (change, error) {
	meta, err := m.Metadata()
	if err != nil {
		return change{}, err
	}
	f.sequence++
	if meta.Sequence.Consumer != f.sequence {
		return change{}, errGap
	}
	f.position = max(f.position, meta.Sequence.Stream)
	if f.pending > 0 {
		f.pending = min(f.pending-1, meta.NumPending)
	}
	c := change{key: strings.TrimPrefix(m.Subject, f.registry.bucket.subject("")), value: m.Data}
	switch m.Header.Get(headerOperation) {
	case operationPurge, operationDelete:
		c.removed = true
	default:
		c.removed = m.Header.Get(jetstream.MarkerReasonHeader) != ""
	}
	if f.keys != nil {
		f.keys[c.key] = !c.removed
	}
	return c, nil
}

// control reads a message that is about the feed: a heartbeat, or the question
// whether we follow.
func (f *feed) control(m *natsgo.Msg) error {
	if m.Reply != "" {
		return m.Respond(nil)
	}
	if last := m.Header.Get(headerLastConsumer); last != strconv.FormatUint(f.sequence, 10) {
		return errGap
	}
	if stalled := m.Header.Get(headerStalled); stalled != "" {
		return f.registry.conn.Publish(stalled, nil)
	}
	return nil
}
