package nats

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/goapi-dev/goapi/broker"
)

const (
	// aloneIdle is how long the server keeps the consumer of a subscription
	// that asks for nothing. Then it is made again, where it was.
	aloneIdle = 5 * time.Minute
	// groupIdle is how long the server keeps a group that nobody subscribes
	// for, if messages are kept forever. Else it is as long as they are.
	groupIdle = 30 * 24 * time.Hour
	// maxPending bounds what is delivered and not settled, of all that share a
	// consumer. What waits for its delay counts.
	maxPending = 1 << 16
)

// A consumer is what the server knows of a subscription or group. It is looked
// up, or made, at each contact.
type consumer struct {
	broker  *Broker
	shelf   *shelf
	topic   string
	name    string
	options broker.SubscribeOptions
	group   bool

	mu      sync.Mutex
	created time.Time           // of the stream; zero at first
	wait    time.Duration       // how long the server waits for an acknowledgement
	base    uint64              // all before it was dealt with at the last contact
	last    uint64              // the latest that was received
	open    map[uint64]struct{} // what was received and not dealt with
	former  string              // what the server knows it as that is not to be used any more
}

func newConsumer(b *Broker, topic string, o broker.SubscribeOptions) *consumer {
	c := &consumer{broker: b, shelf: b.config.shelfOf(topic), topic: topic, options: o, group: o.Group != "", open: make(map[uint64]struct{})}
	if c.group {
		c.name = groupName(topic, o.Group)
		return c
	}
	c.name = aloneName()
	return c
}

// aloneName returns a name for the consumer of one subscription.
func aloneName() string { return "goapi_" + rand.Text() }

// renew has the consumer of one subscription made again at the next contact,
// where it was: what it has sent may be lost, and would come late, out of order.
func (c *consumer) renew() {
	if c.group || c.former != "" {
		return
	}
	c.former, c.name = c.name, aloneName()
}

// groupName returns the name of a group's consumer: what is readable of the
// group, and what no other group or topic has.
func groupName(topic, group string) string {
	plain := func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}
	name := strings.Map(plain, group)
	sum := sha256.Sum256([]byte(topic + " " + group)) // a topic has no space
	return name[:min(len(name), 40)] + "_" + hex.EncodeToString(sum[:16])
}

// attach finds the consumer, or makes it: at the start that the options ask for
// at first, later where it was. It says whether it was made, and how many
// messages the server has for it.
func (c *consumer) attach(ctx context.Context) (made bool, pending int, err error) {
	stream, _, err := c.broker.stream(ctx, c.shelf)
	if err != nil {
		return false, 0, err
	}
	if c.former != "" {
		err := stream.DeleteConsumer(ctx, c.former)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return false, 0, err
		}
		c.former = ""
	}
	found, err := stream.Consumer(ctx, c.name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		var cfg jetstream.ConsumerConfig
		if cfg, err = c.config(stream.CachedInfo()); err != nil {
			return false, 0, err
		}
		made = true
		found, err = stream.CreateConsumer(ctx, cfg)
		if errors.Is(err, jetstream.ErrConsumerExists) { // somebody was faster
			found, err = stream.Consumer(ctx, c.name)
		}
	}
	if err != nil {
		return false, 0, err
	}
	info := found.CachedInfo()
	if err := c.check(info.Config); err != nil {
		return false, 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.created, c.wait, c.base = stream.CachedInfo().Created, info.Config.AckWait, info.AckFloor.Stream+1
	if made {
		clear(c.open)
		c.base, c.last = info.Delivered.Stream+1, info.Delivered.Stream
	}
	return made, count(info.NumPending), nil
}

// check says whether a consumer that is there is what it is to be.
func (c *consumer) check(cfg jetstream.ConsumerConfig) error {
	if cfg.FilterSubject == c.broker.config.subject(c.topic) && cfg.AckPolicy == jetstream.AckExplicitPolicy && cfg.DeliverSubject == "" {
		return nil
	}
	return &settingsError{c.shelf.stream, fmt.Sprintf("its consumer %q is not as goapi makes it", c.name)}
}

// config returns how the consumer is made.
func (c *consumer) config(stream *jetstream.StreamInfo) (jetstream.ConsumerConfig, error) {
	cfg := jetstream.ConsumerConfig{
		Name:              c.name,
		FilterSubject:     c.broker.config.subject(c.topic),
		AckPolicy:         jetstream.AckExplicitPolicy,
		AckWait:           c.options.AckWait,
		MaxDeliver:        -1,
		MaxAckPending:     maxPending,
		InactiveThreshold: aloneIdle,
		Metadata:          map[string]string{"goapi.topic": c.topic},
	}
	if c.group {
		cfg.Durable = c.name
		cfg.InactiveThreshold = groupIdle
		if stream.Config.MaxAge > 0 {
			cfg.InactiveThreshold = stream.Config.MaxAge
		}
		cfg.Metadata["goapi.group"] = c.options.Group
	} else {
		cfg.MemoryStorage, cfg.Replicas = true, 1
	}
	err := c.start(&cfg, stream)
	return cfg, err
}

// start says where the consumer begins.
func (c *consumer) start(cfg *jetstream.ConsumerConfig, stream *jetstream.StreamInfo) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	start := c.options.Start
	switch {
	case c.created.Equal(stream.Created) && !c.created.IsZero(): // the consumer was lost
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, c.floor()
	case !c.created.IsZero(): // the stream was lost, and what it has came later
		cfg.DeliverPolicy = jetstream.DeliverAllPolicy
	case start.Earliest:
		cfg.DeliverPolicy = jetstream.DeliverAllPolicy
	case start.After != "":
		sequence, err := sequence(stream, start.After)
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, sequence+1
		return err
	case !start.Since.IsZero():
		since := start.Since
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	default:
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	return nil
}

// floor returns the first message that may not have been dealt with. Of a
// group, others may know more.
func (c *consumer) floor() uint64 {
	if c.group {
		return max(c.base, 1)
	}
	first := max(c.last+1, c.base)
	for sequence := range c.open {
		first = min(first, sequence)
	}
	return max(first, 1)
}

// receive notes a message, and returns its position.
func (c *consumer) receive(sequence uint64) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, sequence)
	if !c.group {
		c.open[sequence] = struct{}{}
	}
	return position(c.created, sequence)
}

// settle notes that a message was dealt with.
func (c *consumer) settle(sequence uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, sequence)
}

// patience returns how long the server waits for an acknowledgement.
func (c *consumer) patience() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wait
}

// position returns the position of a message: which stream it is in, so that a
// stream that was lost is not taken for its successor, and where.
func position(created time.Time, sequence uint64) string {
	return strconv.FormatInt(created.UnixNano(), 36) + "-" + strconv.FormatUint(sequence, 10)
}

// lastOf returns the position of the latest message of a subject, "" for none.
func lastOf(ctx context.Context, s jetstream.Stream, subject string) (string, error) {
	m, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return position(s.CachedInfo().Created, m.Sequence), nil
}

// sequence reads a position in a stream, after which nothing is gone.
func sequence(stream *jetstream.StreamInfo, position string) (uint64, error) {
	era, digits, _ := strings.Cut(position, "-")
	n, err := strconv.ParseUint(digits, 10, 64)
	known := err == nil && era == strconv.FormatInt(stream.Created.UnixNano(), 36) && n <= stream.State.LastSeq
	if !known || n+1 < stream.State.FirstSeq {
		return 0, fmt.Errorf("%w: %.80q", broker.ErrPosition, position)
	}
	return n, nil
}
