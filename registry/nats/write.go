package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// headerRoom is what a record's header takes of the largest message.
	headerRoom = 128
	// maxNames is at least what a valid service and node may have together.
	maxNames = 1024

	headerOperation = "KV-Operation"
	operationPurge  = "PURGE"
	operationDelete = "DEL"

	codeMessageTooLarge jetstream.ErrorCode = 10054
)

// Register implements [registry.Writer]. A TTL is rounded up to whole seconds.
func (r *Registry) Register(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if ttl < 0 {
		return &registry.FieldError{Field: "ttl", Reason: "it is negative"}
	}
	messages := make([]*natsgo.Msg, len(s.Nodes))
	for i, n := range s.Nodes {
		m, err := r.record(s, n, ttl)
		if err != nil {
			return err
		}
		messages[i] = m
	}
	return r.write(ctx, s.Name, messages)
}

// Deregister implements [registry.Writer].
func (r *Registry) Deregister(ctx context.Context, s *registry.Service) error {
	var messages []*natsgo.Msg
	for _, n := range s.Nodes {
		if n == nil || s.Name == "" || n.ID == "" || len(s.Name)+len(n.ID) > maxNames {
			continue // nobody can have registered it
		}
		m := natsgo.NewMsg(r.bucket.subject(key(s.Name, n.ID)))
		m.Header.Set(headerOperation, operationPurge)
		setTTL(m, markerTTL)
		messages = append(messages, m)
	}
	return r.write(ctx, s.Name, messages)
}

// record returns the message that announces one node.
func (r *Registry) record(s *registry.Service, n *registry.Node, ttl time.Duration) (*natsgo.Msg, error) {
	one := *s
	one.Nodes = []*registry.Node{n}
	data, err := json.Marshal(&one)
	if err != nil {
		return nil, fmt.Errorf("registry: service %q: %w", s.Name, err)
	}
	if limit := r.conn.MaxPayload() - headerRoom; int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: service %q, node %q: %d bytes; the NATS server takes %d",
			registry.ErrTooLarge, s.Name, n.ID, len(data), limit)
	}
	m := natsgo.NewMsg(r.bucket.subject(key(s.Name, n.ID)))
	m.Data = data
	if ttl > 0 {
		setTTL(m, ttl)
	}
	return m, nil
}

// setTTL sets when the server removes a message.
func setTTL(m *natsgo.Msg, ttl time.Duration) {
	seconds := int64(ttl / time.Second)
	if ttl%time.Second > 0 {
		seconds++
	}
	m.Header.Set(jetstream.MsgTTLHeader, strconv.FormatInt(seconds, 10))
}

// write publishes messages about one service.
func (r *Registry) write(ctx context.Context, service string, messages []*natsgo.Msg) error {
	for _, m := range messages {
		err := r.call(ctx, func(ctx context.Context) error {
			ack, err := r.publish(ctx, m)
			if err == nil {
				r.writes.add(service, ack.Sequence)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return r.usable(ctx)
}

// publish has the bucket take a message. A server that lost the bucket gets it
// again.
func (r *Registry) publish(ctx context.Context, m *natsgo.Msg) (*jetstream.PubAck, error) {
	ack, err := r.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		if err := r.makeBucket(ctx); err != nil {
			return nil, err
		}
		ack, err = r.js.PublishMsg(ctx, m)
	}
	var api *jetstream.APIError
	if errors.Is(err, natsgo.ErrMaxPayload) || errors.As(err, &api) && api.ErrorCode == codeMessageTooLarge {
		return nil, fmt.Errorf("%w: %d bytes: %w", registry.ErrTooLarge, len(m.Data), err)
	}
	return ack, err
}

// settle is how long a replica of the bucket may lag behind: one that missed the
// first messages of a stream notices at a heartbeat, and asks more than once.
const settle = 10 * time.Second

// writes remembers what this registry wrote a moment ago, so that what is read
// now holds it: on a cluster, a replica that lags may be the one that answers.
type writes struct {
	mu      sync.Mutex
	last    map[string]write // by service
	cleaned time.Time
}

// A write is the place in the bucket of what was written, and when.
type write struct {
	sequence uint64
	at       time.Time
}

// add remembers a write.
func (w *writes) add(service string, sequence uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.last == nil {
		w.last = make(map[string]write)
	}
	if now.Sub(w.cleaned) > settle {
		w.cleaned = now
		for name, old := range w.last {
			if now.Sub(old.at) > settle {
				delete(w.last, name)
			}
		}
	}
	if sequence > w.last[service].sequence {
		w.last[service] = write{sequence, now}
	}
}

// latest returns the last recent write of a service, or of all if it is "".
func (w *writes) latest(service string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var sequence uint64
	for name, last := range w.last {
		if (service == "" || service == name) && time.Since(last.at) <= settle {
			sequence = max(sequence, last.sequence)
		}
	}
	return sequence
}

// forget is for a bucket that is new.
func (w *writes) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.last)
}
