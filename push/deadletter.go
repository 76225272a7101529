package push

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

// DefaultDeadLetters is the topic of dead letters where Options name none.
const DefaultDeadLetters = "_dead-letters"

// The header of a dead letter, beside that of the message that it keeps.
const (
	headerLetter    = "Goapi-Dead-Letter" // what it is; all others begin with it
	headerService   = headerLetter + "-Service"
	headerEndpoint  = headerLetter + "-Endpoint"
	headerTopic     = headerLetter + "-Topic"
	headerID        = headerLetter + "-Id"
	headerPublished = headerLetter + "-Published"
	headerPosition  = headerLetter + "-Position"
	headerReason    = headerLetter + "-Reason"
	headerAttempts  = headerLetter + "-Attempts"
	headerTime      = headerLetter + "-Time"
	headerCut       = headerLetter + "-Cut"  // what is left out
	headerSize      = headerLetter + "-Size" // of a body that is
	headerOf        = headerLetter + "-Of"   // of what was replayed
)

// What a message on the topic of dead letters is. A broker takes nothing back, so
// that a letter is dealt with when a later message says so.
const (
	letterGivenUp  = "given-up"
	letterReplayed = "replayed"
)

// What is left out of a dead letter that the broker cannot hold whole.
const (
	cutHeader = "header"
	cutBody   = "body" // and the header
)

// A DeadLetter is a message that was given up. It is a message on a topic of its
// own, with body and header of the original, and with header fields that begin
// with Goapi-Dead-Letter. It is there as long as the broker keeps messages: like
// all others it goes when it is among the oldest.
type DeadLetter struct {
	// ID is the dead letter's own: that of the message for this service.
	ID string `json:"id"`
	// Service is who the message was for, and Endpoint where it was to go.
	Service  string `json:"service"`
	Endpoint string `json:"endpoint"`
	// Topic is where the message was published, MessageID its ID, and Published
	// its time.
	Topic     string    `json:"topic"`
	MessageID string    `json:"message_id"`
	Published time.Time `json:"published"`
	// Position is that of the message in its topic. It is empty where the broker
	// has none.
	Position string `json:"position,omitempty"`
	// Reason is a line that says why the last attempt failed.
	Reason string `json:"reason"`
	// Attempts is how many there were, and Time when the message was given up.
	Attempts int       `json:"attempts"`
	Time     time.Time `json:"time"`
	// Size is that of the message's body, in bytes.
	Size int `json:"size"`
	// Cut is what is left out, since the broker could not hold all of it beside
	// the reason: "header", or "body", which is both. Such a letter cannot be
	// replayed. Empty is nothing.
	Cut string `json:"cut,omitempty"`
	// Header and Body are the message's. A list leaves them out.
	Header map[string]string `json:"header,omitempty"`
	Body   []byte            `json:"body,omitempty"`
}

// maxText bounds a text in a dead letter, in bytes: what others have put on the
// topic is listed, too.
const maxText = 512

// A failed is a message that is given up.
type failed struct {
	to       *subscriber
	message  *broker.Message
	position string
	reason   string
	attempts int
}

// bury publishes a message that is given up as a dead letter: as much of it as
// the broker can hold.
func (p *Pusher) bury(ctx context.Context, f *failed) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var err error
	for _, without := range []string{"", cutHeader, cutBody} {
		err = p.broker.Publish(ctx, p.opts.DeadLetters, f.letter(time.Now(), without))
		if !errors.Is(err, broker.ErrTooLarge) {
			return err
		}
	}
	return err
}

// letter returns the dead letter, without what is to be left out. The same
// message for the same service has the same ID, so that it is there once.
func (f *failed) letter(now time.Time, without string) *broker.Message {
	m := f.message
	header, body := messageHeader(m.Header), m.Body
	if without != "" {
		header = map[string]string{headerCut: without}
	}
	if without == cutBody {
		header[headerSize] = strconv.Itoa(len(body))
		body = nil
	}
	header[headerLetter] = letterGivenUp
	header[headerService] = f.to.service
	header[headerEndpoint] = cut(f.to.endpoint, maxDetail)
	header[headerTopic] = m.Topic
	header[headerID] = m.ID
	header[headerPublished] = m.Time.UTC().Format(time.RFC3339Nano)
	if position := cut(f.position, maxDetail); position != "" {
		header[headerPosition] = position
	}
	header[headerReason] = cut(f.reason, 2*maxDetail)
	header[headerAttempts] = strconv.Itoa(f.attempts)
	header[headerTime] = now.UTC().Format(time.RFC3339Nano)
	return &broker.Message{ID: hashOf("dead-letter", f.to.service, m.Topic, m.ID), Header: header, Body: body, Time: now}
}

// IsDeadLetter says whether a message on the topic of dead letters is one; others
// note there that one was replayed. On other topics anybody may say so.
func IsDeadLetter(m *broker.Message) bool { return m.Header[headerLetter] == letterGivenUp }

// messageHeader returns a header less what is a dead letter's.
func messageHeader(header map[string]string) map[string]string {
	h := maps.Clone(header)
	if h == nil {
		h = make(map[string]string)
	}
	maps.DeleteFunc(h, func(name, _ string) bool {
		return len(name) >= len(headerLetter) && strings.EqualFold(name[:len(headerLetter)], headerLetter)
	})
	return h
}

// letterOf returns the dead letter that a message is, without header and body.
func letterOf(m *broker.Message) *DeadLetter {
	text := func(name string) string {
		return strings.ToValidUTF8(m.Header[name][:min(len(m.Header[name]), maxText)], "")
	}
	attempts, _ := strconv.Atoi(m.Header[headerAttempts]) // 0 for what is none
	size := len(m.Body)
	if text(headerCut) == cutBody {
		size, _ = strconv.Atoi(m.Header[headerSize])
	}
	return &DeadLetter{
		ID: m.ID, Service: text(headerService), Endpoint: text(headerEndpoint),
		Topic: text(headerTopic), MessageID: text(headerID), Published: timeOf(m.Header[headerPublished]),
		Position: text(headerPosition), Reason: text(headerReason), Attempts: attempts, Time: timeOf(m.Header[headerTime]),
		Size: size, Cut: text(headerCut),
	}
}

// message returns the message that a dead letter keeps, which is whole.
func (l *DeadLetter) message() *broker.Message {
	return &broker.Message{ID: l.MessageID, Topic: l.Topic, Header: l.Header, Body: l.Body, Time: l.Published}
}

// timeOf reads a time; what is none is zero.
func timeOf(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t
}
