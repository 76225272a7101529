// Package micro speaks the broker formats of go-micro, so that its subscribers
// and publishers of every version take part, unmodified.
//
// A message is JSON, {"Header":{…},"Body":"base64"}, which [Marshal] and
// [Unmarshal] know. Package broker/nats carries it on the plain subject
// ("nats+micro:"); the [HTTP] broker of this package posts it to those who
// subscribe in a registry ("http+micro:").
package micro

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

// The names in the header of an envelope that are not the message's own. Since
// v4.10, go-micro spells the second Micro-ID.
const (
	headerTopic   = "Micro-Topic"
	headerID      = "Micro-Id"
	headerMark    = "Goapi-Mark"
	headerV1Topic = ":topic" // of versions before 2, over HTTP

	// escape is before a name of the message's that is one of those above, or
	// begins with it.
	escape = "!"
)

// An envelope is a message of go-micro.
type envelope struct {
	Header map[string]string
	Body   []byte
}

// reserved says whether a name in the header is not the message's own.
func reserved(name string) bool {
	return strings.EqualFold(name, headerTopic) || strings.EqualFold(name, headerID) || strings.EqualFold(name, headerMark) ||
		name == headerV1Topic
}

// A mark tells which message we wrote a header for. Services of go-micro that
// publish while they handle a message pass its header on, with a topic of their
// own, but not always an ID: what they inherited is not the new message's.
type mark struct {
	time      time.Time
	topic, id string
}

func (m mark) String() string {
	return m.time.UTC().Format(time.RFC3339Nano) + " " + m.topic + " " + m.id // a topic has no space
}

// readMark returns the zero mark for what is none.
func readMark(text string) mark {
	at, rest, _ := strings.Cut(text, " ")
	topic, id, _ := strings.Cut(rest, " ")
	made, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return mark{}
	}
	return mark{made, topic, id}
}

// Marshal returns a message as go-micro has it. Its subscribers find the topic,
// the ID and the content type, which they need, in the header. The message has
// passed Check, and has an ID and a time.
func Marshal(topic string, m *broker.Message) ([]byte, error) { return marshal(topic, m, false) }

// marshal is Marshal with what older versions need over HTTP, if v1 is true.
func marshal(topic string, m *broker.Message, v1 bool) ([]byte, error) {
	e := envelope{Header: make(map[string]string, len(m.Header)+4), Body: m.Body}
	for name, value := range m.Header {
		if reserved(name) || strings.HasPrefix(name, escape) {
			name = escape + name
		}
		e.Header[name] = value
	}
	e.Header[headerTopic] = topic
	e.Header[headerID] = m.ID
	e.Header[headerMark] = mark{m.Time, topic, m.ID}.String()
	if v1 {
		e.Header[headerV1Topic] = topic
	}
	return json.Marshal(&e)
}

// Unmarshal reads what Marshal or go-micro wrote, and was received on a topic at
// a time. What breaks the rules of messages is left out of the header.
func Unmarshal(topic string, data []byte, received time.Time) (broker.Message, error) {
	e, err := open(data)
	if err != nil {
		return broker.Message{}, err
	}
	return e.message(topic, received), nil
}

// open reads an envelope.
func open(data []byte) (*envelope, error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("%w: it is not as go-micro writes it: %w", broker.ErrMessage, err)
	}
	return &e, nil
}

// message returns the message in an envelope.
func (e *envelope) message(topic string, received time.Time) broker.Message {
	m := broker.Message{Topic: topic, Body: e.Body, Time: received}
	var (
		id, newID string // as it was spelt, and is since v4.10
		ours      mark
	)
	for name, value := range e.Header {
		switch {
		case name == headerID:
			id = value
		case strings.EqualFold(name, headerID):
			newID = value
		case strings.EqualFold(name, headerMark):
			ours = readMark(value)
		case !reserved(name):
			if m.Header == nil {
				m.Header = make(map[string]string, len(e.Header))
			}
			m.Header[strings.TrimPrefix(name, escape)] = value
		}
	}
	switch {
	case ours.topic == topic && ours.id == id && newID == "":
		m.ID, m.Time = id, ours.time
	case id != ours.id:
		m.ID = id
	case newID != ours.id:
		m.ID = newID
	}
	m.Clean()
	return m
}
