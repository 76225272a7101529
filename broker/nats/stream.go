package nats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goapi-dev/goapi/broker"
)

const (
	// dedup is for how long a stream that is made knows IDs.
	dedup = 2 * time.Minute

	codeNoCluster       jetstream.ErrorCode = 10074 // replicas that it cannot have
	codeMessageTooLarge jetstream.ErrorCode = 10054
	codeHeaderTooLarge  jetstream.ErrorCode = 10097 // over 64 KiB
	codeNoStorage       jetstream.ErrorCode = 10047
	codeOverlap         jetstream.ErrorCode = 10065
)

// maxConsumers bounds the groups, and the subscriptions that have none, of a
// stream that is made.
const maxConsumers = 100_000

// streamConfig returns how the stream of a shelf is made.
func (c *config) streamConfig(of *shelf) jetstream.StreamConfig {
	s := jetstream.StreamConfig{
		Name:              of.stream,
		Description:       "messages of goapi",
		Subjects:          []string{of.prefix + ">"},
		Storage:           jetstream.FileStorage,
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardOld,
		Replicas:          c.replicas,
		MaxAge:            c.maxAge,
		MaxBytes:          of.maxBytes,
		MaxMsgs:           -1,
		MaxMsgSize:        -1,
		MaxMsgsPerSubject: -1,
		MaxConsumers:      maxConsumers, // -1 is 1,000 to the server
		AllowDirect:       true,
		Duplicates:        dedup,
	}
	if of.maxBytes == 0 {
		s.MaxBytes = -1
	}
	if s.MaxAge > 0 {
		s.Duplicates = min(dedup, s.MaxAge)
	}
	return s
}

// check returns what keeps a stream that is there from being used.
func (of *shelf) check(s jetstream.StreamConfig) error {
	var wrong []string
	add := func(bad bool, format string, v ...any) {
		if bad {
			wrong = append(wrong, fmt.Sprintf(format, v...))
		}
	}
	add(!of.in(s), "its subjects are %q, which does not cover %q", s.Subjects, of.prefix+">")
	add(s.Retention != jetstream.LimitsPolicy, "its retention is %v, want limits: a message is there for all who want it", s.Retention)
	add(s.NoAck, "it does not acknowledge what it stores")
	add(s.Mirror != nil, "it is a mirror")
	add(s.Sealed, "it is sealed")
	add(s.SubjectTransform != nil, "it changes subjects")
	if wrong == nil {
		return nil
	}
	return &settingsError{stream: of.stream, wrong: strings.Join(wrong, ", ")}
}

// in says whether a stream takes in all subjects of a shelf.
func (of *shelf) in(s jetstream.StreamConfig) bool {
	return slices.ContainsFunc(s.Subjects, func(subject string) bool { return covers(subject, of.prefix+">") })
}

// covers says whether a subject with wildcards takes in all that another does,
// which ends in ">".
func covers(subject, all string) bool {
	have, want := strings.Split(subject, "."), strings.Split(all, ".")
	for i, word := range have {
		switch {
		case word == ">":
			return true
		case i >= len(want) || want[i] == ">":
			return false
		case word != "*" && word != want[i]:
			return false
		}
	}
	return false
}

// defaultPayload is the largest message that a server takes unless it is told
// otherwise, in bytes.
const defaultPayload = 1 << 20

// promises returns what a server promises that takes messages of so many bytes. Of a
// stream that is there already, it knows nothing.
func (c *config) promises(maxPayload int64) broker.Capabilities {
	caps := broker.Capabilities{Ordered: true, Groups: true, MaxMessage: int(maxPayload) - headerRoom}
	if c.micro {
		caps.MaxMessage = caps.MaxMessage / 4 * 3 // in base64
	}
	if c.jetstream {
		caps = capabilities(c.streamConfig(&c.shelf), caps)
	}
	return caps
}

// capabilities returns what a stream promises.
func capabilities(s jetstream.StreamConfig, c broker.Capabilities) broker.Capabilities {
	c.Persistent = s.Storage == jetstream.FileStorage
	c.Redelivery, c.LastingGroups, c.History = true, true, true
	c.Dedup = s.Duplicates
	if s.MaxMsgSize > 0 {
		c.MaxMessage = min(c.MaxMessage, int(s.MaxMsgSize)-headerRoom)
	}
	return c
}

// A settingsError says why a stream cannot be used.
type settingsError struct{ stream, wrong string }

// Error implements error.
func (e *settingsError) Error() string {
	return fmt.Sprintf("broker: stream %q of NATS cannot be used: %s; change it, or the parameters of the URL: %s",
		e.stream, e.wrong, strings.Join(params(), ", "))
}

// stream returns the stream of a shelf, and makes it if it is absent. Several may
// do so at once.
func (b *Broker) stream(ctx context.Context, of *shelf) (s jetstream.Stream, made bool, err error) {
	s, err = b.js.Stream(ctx, of.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = b.js.CreateStream(ctx, b.config.streamConfig(of))
		made = err == nil
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody was faster
		s, err = b.js.Stream(ctx, of.stream)
	}
	if err != nil {
		return nil, false, b.config.explain(of, err)
	}
	return s, made, of.check(s.CachedInfo().Config)
}

// explain says what the server's refusal of a stream means to an operator.
func (c *config) explain(of *shelf, err error) error {
	if errors.Is(err, natsgo.ErrNoResponders) {
		return fmt.Errorf("JetStream does not answer; if the server has none, enable it there, or say %s=false: %w", paramJetStream, err)
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return err
	}
	switch api.ErrorCode {
	case codeNoCluster:
		return &settingsError{of.stream, fmt.Sprintf("a server without a cluster cannot hold %d replicas", c.replicas)}
	case codeNoStorage:
		return &settingsError{of.stream, fmt.Sprintf("the server has no room for %s=%d", paramMaxBytes, of.maxBytes)}
	case codeOverlap:
		return &settingsError{of.stream, fmt.Sprintf("another stream has subjects under %q", of.prefix)}
	case jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount:
		return &settingsError{of.stream, fmt.Sprintf("the server has no JetStream; enable it there, or say %s=false", paramJetStream)}
	}
	return err
}

// store has the stream take a message. A server that lost the stream gets it
// again.
func (b *Broker) store(ctx context.Context, of *shelf, w *wire) error {
	w.set(jetstream.ExpectedStreamHeader, of.stream)
	err := b.submit(ctx, of, &w.Msg)
	if !errors.Is(err, natsgo.ErrNoResponders) {
		return err
	}
	err = b.call(ctx, func(ctx context.Context) error {
		_, _, err := b.stream(ctx, of)
		return err
	})
	if err != nil {
		return err
	}
	return b.submit(ctx, of, &w.Msg)
}

// submit sends a message, and reads the stream's answer. It is the library's
// PublishMsg, without the allocations of reading what is nearly always the same.
func (b *Broker) submit(ctx context.Context, of *shelf, m *natsgo.Msg) error {
	answer, err := b.request(ctx, m)
	if err != nil || bytes.HasPrefix(answer.Data, of.stored) {
		return err
	}
	var ack struct {
		Error  *jetstream.APIError
		Stream string
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return fmt.Errorf("%w: %w", jetstream.ErrInvalidJSAck, err)
	}
	if ack.Error != nil {
		return ack.Error
	}
	if ack.Stream == "" {
		return jetstream.ErrInvalidJSAck
	}
	return nil
}

// isTooLarge says whether an error is the server's for a message that is.
func isTooLarge(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, natsgo.ErrMaxPayload) ||
		errors.As(err, &api) && (api.ErrorCode == codeMessageTooLarge || api.ErrorCode == codeHeaderTooLarge)
}
