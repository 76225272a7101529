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

// The names in the header of an envelope that are not the message's own. Those
// that read it do not agree on the last letter of the second.
const (
	headerTopic   = "Micro-Topic"
	headerID      = "Micro-Id"
	headerTime    = "Goapi-Time"
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
	return strings.EqualFold(name, headerTopic) || strings.EqualFold(name, headerID) || strings.EqualFold(name, headerTime) ||
		name == headerV1Topic
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
	e.Header[headerTime] = m.Time.UTC().Format(time.RFC3339Nano)
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
	for name, value := range e.Header {
		switch {
		case strings.EqualFold(name, headerID):
			if m.ID == "" || name == headerID {
				m.ID = value
			}
		case strings.EqualFold(name, headerTime):
			if made, err := time.Parse(time.RFC3339Nano, value); err == nil {
				m.Time = made
			}
		case !reserved(name):
			if m.Header == nil {
				m.Header = make(map[string]string, len(e.Header))
			}
			m.Header[strings.TrimPrefix(name, escape)] = value
		}
	}
	m.Clean()
	return m
}
