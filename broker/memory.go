package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Memory carries messages within this process, and keeps the latest of them,
// whatever their topic. Its fields are not changed once it is used. The zero
// value is ready for use; a Memory must not be copied.
type Memory struct {
	// MaxMessages is how many messages are kept. Default: 65,536.
	MaxMessages int
	// MaxBytes is how much they may hold together. Default: 64 MiB.
	MaxBytes int
	// MaxMessage bounds one message. Default: 1 MiB.
	MaxMessage int
	// Dedup is for how long a topic knows the IDs of its messages, as long as
	// they are kept. Default: 2 minutes.
	Dedup time.Duration
	// GroupIdle is how long a group that nobody subscribes for keeps its place.
	// Default: a day.
	GroupIdle time.Duration

	mu      sync.Mutex
	epoch   string           // see era
	topics  map[string]*line // that have messages or cursors
	kept    []*entry         // oldest first
	bytes   int              // what those kept hold
	last    uint64           // sequence of the latest message
	dropped uint64           // sequence of the latest message that was dropped
}

var _ Broker = (*Memory)(nil)

// A line is the messages of one topic and those who follow it.
type line struct {
	entries []*entry          // oldest first
	ids     map[string]*entry // of entries
	groups  map[string]*cursor
	cursors map[*cursor]struct{} // of groups and of subscriptions without one
}

// An entry is a message that was published.
type entry struct {
	message  Message
	sequence uint64
	taken    time.Time
	dropped  bool
}

// Capabilities implements [Broker].
func (m *Memory) Capabilities() Capabilities {
	return Capabilities{
		Redelivery:    true,
		Ordered:       true,
		Groups:        true,
		LastingGroups: true,
		History:       true,
		Dedup:         cmp.Or(m.Dedup, 2*time.Minute),
		MaxMessage:    cmp.Or(m.MaxMessage, 1<<20),
	}
}

// Publish implements [Publisher].
func (m *Memory) Publish(ctx context.Context, topic string, msg *Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := CheckTopic(topic); err != nil {
		return err
	}
	if err := msg.Check(); err != nil {
		return err
	}
	limits := m.Capabilities()
	if size := msg.Size(); size > limits.MaxMessage {
		return fmt.Errorf("%w: %d bytes on topic %q; this broker takes %d", ErrTooLarge, size, topic, limits.MaxMessage)
	}
	e := &entry{message: *msg}
	e.message.Topic = topic
	e.message.ID = cmp.Or(msg.ID, rand.Text())
	e.message.Header = maps.Clone(msg.Header)
	e.message.Body = slices.Clone(msg.Body)
	m.mu.Lock()
	defer m.mu.Unlock()
	e.taken = time.Now()
	if msg.Time.IsZero() {
		e.message.Time = e.taken
	}
	l := m.line(topic)
	if same := l.ids[e.message.ID]; same != nil && e.taken.Sub(same.taken) < limits.Dedup {
		return nil
	}
	m.add(l, e)
	for c := range l.cursors {
		c.wake()
	}
	return nil
}

// line returns the line of a topic, a new one if there is none.
func (m *Memory) line(topic string) *line {
	l := m.topics[topic]
	if l == nil {
		l = &line{ids: make(map[string]*entry), groups: make(map[string]*cursor), cursors: make(map[*cursor]struct{})}
		if m.topics == nil {
			m.topics = make(map[string]*line)
		}
		m.topics[topic] = l
	}
	return l
}

// add keeps a message, and drops the oldest that there is no room for.
func (m *Memory) add(l *line, e *entry) {
	m.last++
	e.sequence = m.last
	l.entries = append(l.entries, e)
	l.ids[e.message.ID] = e
	m.kept = append(m.kept, e)
	m.bytes += e.message.Size()
	for len(m.kept) > cmp.Or(m.MaxMessages, 1<<16) || m.bytes > cmp.Or(m.MaxBytes, 64<<20) {
		m.drop()
	}
}

// drop drops the oldest message.
func (m *Memory) drop() {
	e := m.kept[0]
	l := m.topics[e.message.Topic]
	m.kept[0], l.entries[0] = nil, nil
	m.kept, l.entries = m.kept[1:], l.entries[1:]
	m.bytes -= e.message.Size()
	m.dropped = e.sequence
	if l.ids[e.message.ID] == e {
		delete(l.ids, e.message.ID)
	}
	topic := e.message.Topic
	e.dropped, e.message = true, Message{} // somebody may wait to deliver it
	m.forget(topic, l)
}

// forget forgets a topic that holds nothing.
func (m *Memory) forget(topic string, l *line) {
	if len(l.entries) == 0 && len(l.cursors) == 0 {
		delete(m.topics, topic)
	}
}

// Subscribe implements [Subscriber].
func (m *Memory) Subscribe(ctx context.Context, topic string, opts *SubscribeOptions) (Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := CheckTopic(topic); err != nil {
		return nil, err
	}
	o, err := opts.For(m.Capabilities())
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.topics[topic]; l != nil && l.groups[o.Group] != nil {
		return l.groups[o.Group].join(o), nil
	}
	after, err := m.start(topic, o.Start)
	if err != nil {
		return nil, err
	}
	l := m.line(topic)
	c := &cursor{memory: m, topic: topic, line: l, group: o.Group, last: after}
	l.cursors[c] = struct{}{}
	if o.Group != "" {
		l.groups[o.Group] = c
	}
	return c.join(o), nil
}

// Last implements [Broker].
func (m *Memory) Last(ctx context.Context, topic string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := CheckTopic(topic); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.topics[topic]
	if l == nil || len(l.entries) == 0 {
		return "", nil
	}
	return m.position(l.entries[len(l.entries)-1]), nil
}

// start returns the sequence after which a subscription begins.
func (m *Memory) start(topic string, s Start) (after uint64, err error) {
	switch {
	case s.Earliest:
		return m.dropped, nil
	case s.After != "":
		return m.sequence(s.After)
	case s.Since.IsZero() || m.topics[topic] == nil:
		return m.last, nil
	}
	entries := m.topics[topic].entries
	i, _ := slices.BinarySearchFunc(entries, s.Since, func(e *entry, t time.Time) int { return e.taken.Compare(t) })
	if i == len(entries) {
		return m.last, nil
	}
	return entries[i].sequence - 1, nil
}

// position returns the position of a message.
func (m *Memory) position(e *entry) string {
	return m.era() + "-" + strconv.FormatUint(e.sequence, 10)
}

// era returns what positions begin with, so that those of another Memory are
// known.
func (m *Memory) era() string {
	if m.epoch == "" {
		m.epoch = rand.Text()
	}
	return m.epoch
}

// sequence reads a position.
func (m *Memory) sequence(position string) (uint64, error) {
	era, digits, _ := strings.Cut(position, "-")
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || era != m.era() || n > m.last || n < m.dropped {
		return 0, fmt.Errorf("%w: %q", ErrPosition, cut(position))
	}
	return n, nil
}
