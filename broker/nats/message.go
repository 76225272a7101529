package nats

import (
	"crypto/rand"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/micro"
)

const (
	// headerRoom is what the header of a message takes of the largest one, the
	// message's own header aside.
	headerRoom = 1024

	headerID   = jetstream.MsgIDHeader
	headerTime = "Goapi-Time"

	// escape is before a name that means something to NATS, or to us, or begins
	// with it.
	escape = "!"
)

// reserved says whether a name in a header means something to NATS or to us.
func reserved(name string) bool {
	for _, prefix := range []string{"nats-", "goapi-"} {
		if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return true
		}
	}
	return strings.EqualFold(name, headerStatus) || strings.EqualFold(name, headerDescription)
}

// A wire is a message on its way to NATS, which keeps nothing of it.
type wire struct {
	natsgo.Msg

	values []string // of the header
}

// set sets a header.
func (w *wire) set(name, value string) {
	w.values = append(w.values, value)
	w.Header[name] = w.values[len(w.values)-1 : len(w.values) : len(w.values)]
}

// clear empties it for the next message.
func (w *wire) clear() {
	clear(w.Header)
	clear(w.values)
	w.values, w.Data, w.Reply = w.values[:0], nil, ""
}

// encode makes w a message as NATS carries it, or returns broker.ErrMessage.
func (c *config) encode(w *wire, topic string, m *broker.Message) error {
	if err := m.Check(); err != nil {
		return err
	}
	whole := *m
	if whole.ID == "" {
		whole.ID = rand.Text()
	}
	if whole.Time.IsZero() {
		whole.Time = time.Now()
	}
	w.Subject = c.subject(topic)
	if !c.micro {
		w.encode(topic, &whole)
		return nil
	}
	var err error
	w.Data, err = micro.Marshal(topic, &whole)
	return err
}

// decode returns what NATS carried, or broker.ErrMessage for what is not as
// go-micro has it.
func (c *config) decode(topic string, m *natsgo.Msg, taken time.Time) (broker.Message, error) {
	if c.micro {
		return micro.Unmarshal(topic, m.Data, taken)
	}
	return decode(topic, m, taken), nil
}

// encode makes it a message with native headers and its own body.
func (w *wire) encode(topic string, m *broker.Message) {
	for name, value := range m.Header {
		if reserved(name) || strings.HasPrefix(name, escape) {
			name = escape + name
		}
		w.set(name, value)
	}
	w.set(headerID, topic+" "+m.ID) // a topic has no space
	w.set(headerTime, m.Time.UTC().Format(time.RFC3339Nano))
	w.Data = m.Body
}

// decode returns what NATS carried. Of messages that others have published,
// what breaks the rules is left out.
func decode(topic string, m *natsgo.Msg, taken time.Time) broker.Message {
	msg := broker.Message{Topic: topic, Body: m.Data, Time: taken}
	for name, values := range m.Header {
		if reserved(name) || len(values) == 0 {
			continue
		}
		if msg.Header == nil {
			msg.Header = make(map[string]string, len(m.Header))
		}
		msg.Header[strings.TrimPrefix(name, escape)] = values[0]
	}
	id := m.Header.Get(headerID)
	msg.ID = strings.TrimPrefix(id, topic+" ")
	if made, err := time.Parse(time.RFC3339Nano, m.Header.Get(headerTime)); err == nil {
		msg.Time = made
	}
	msg.Clean()
	return msg
}
