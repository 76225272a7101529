// Package broker says what it is to publish messages by topic and to receive
// them, whatever system carries them.
//
// [Memory] carries messages within this process. Sub-packages speak to other
// systems and are named after them. Every implementation passes the suite in
// package brokertest. What a broker cannot promise is a field of its
// [Capabilities]; all else in this package is what all of them promise.
//
// # Delivery
//
// A message is delivered at least once: to each subscription that has no group,
// and to one subscription of each group. It comes again until a delivery of it
// is acknowledged or given up, whatever happens to either side meanwhile; so
// receivers are to know a message by its ID. Where [Capabilities.Redelivery] is
// false it is delivered at most once.
//
// Messages of one topic that one publisher publishes one after the other are
// first delivered in that order, to each subscription that has no group, and to
// a group of one. What comes again comes out of order.
//
// What a broker keeps is bounded. A message that leaves the history before
// somebody was given it is not delivered to him; he goes on with what is left.
package broker

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrUnavailable is returned when the system behind a broker cannot be
	// reached, or takes no messages for now. A [Subscription] returns it once
	// for each loss of contact.
	ErrUnavailable = errors.New("broker: unavailable")
	// ErrTopic is returned for a topic that no message can have; see
	// [CheckTopic].
	ErrTopic = errors.New("broker: invalid topic")
	// ErrMessage is returned for a message whose ID or header cannot be
	// carried; see [Message.Check].
	ErrMessage = errors.New("broker: invalid message")
	// ErrOptions is returned for options that contradict each other, and for
	// those that a broker lacks the capability for.
	ErrOptions = errors.New("broker: invalid options")
	// ErrTooLarge is returned by Publish for a message that the system behind
	// the broker cannot hold.
	ErrTooLarge = errors.New("broker: message too large")
	// ErrPosition is returned by Subscribe for a position that the broker does
	// not know, or that is too old: messages that came after it may be gone.
	ErrPosition = errors.New("broker: position is unknown or too old")
	// ErrSettled is returned when a delivery that was acknowledged, refused or
	// given up is settled again.
	ErrSettled = errors.New("broker: delivery is settled already")
	// ErrClosed is returned by a subscription or broker that was closed.
	ErrClosed = errors.New("broker: closed")
)

// A Message is what is published and received.
type Message struct {
	// ID names the message within its topic. Publish makes one for a message
	// that has none. Messages that others put on the system may have none.
	ID string
	// Topic is where a message was received. Publish takes its own.
	Topic string
	// Header is what goes with the body. Names keep their case.
	Header map[string]string
	// Body is the payload, which may be empty, and need not be text.
	Body []byte
	// Time is when the message was made, to the millisecond. Publish takes the
	// time of the call for a message that has none. Where others who put a
	// message on the system did not say, it is when the broker took it.
	Time time.Time
}

// A Publisher hands messages to a broker. It may be used concurrently.
type Publisher interface {
	// Publish publishes a message on a topic. It returns nil once the broker
	// has it, and where [Capabilities.Persistent] is true, has stored it. The
	// message is not changed; the caller may change it afterwards.
	//
	// A message with the ID of another that the topic took within
	// [Capabilities.Dedup] is not published again, and that is no error. After
	// ErrUnavailable, or an error of the context, the message may have been
	// published or not; publishing it again with the same ID is how to find
	// out. Other errors are ErrTopic, ErrMessage, ErrTooLarge and ErrClosed, and
	// after those it has not been.
	Publish(ctx context.Context, topic string, m *Message) error
}

// A Subscriber receives messages from a broker. It may be used concurrently.
type Subscriber interface {
	// Subscribe begins to receive a topic; there are no wildcards. What is
	// published once Subscribe has returned is received. The context bounds the
	// call, not the life of the subscription; the caller closes it. Nil options
	// mean all defaults.
	//
	// Errors are ErrTopic, ErrOptions, ErrPosition, ErrUnavailable and
	// ErrClosed.
	Subscribe(ctx context.Context, topic string, opts *SubscribeOptions) (Subscription, error)
}

// A Broker publishes and receives, and says what it promises. Whoever opens one
// that is an io.Closer closes it, and its subscriptions with it.
type Broker interface {
	Publisher
	Subscriber
	// Last returns the position of the latest message of a topic, or "" if the
	// broker has none. Who reads the topic from its beginning has all that was
	// there when he comes to that. Errors are ErrTopic, ErrUnavailable, ErrClosed,
	// and ErrOptions where [Capabilities.History] is false.
	Last(ctx context.Context, topic string) (position string, err error)
	// Capabilities returns what the broker promises. It does not change.
	Capabilities() Capabilities
}
