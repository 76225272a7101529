package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// move brings the messages of own topics, which earlier versions kept with all
// others, to a stream that was just made for them.
func (b *Broker) move(ctx context.Context, from, to jetstream.Stream) error {
	info, err := from.Info(ctx, jetstream.WithSubjectFilter(b.config.prefix+">"))
	if err != nil {
		return err
	}
	for subject := range info.State.Subjects {
		if topic := strings.TrimPrefix(subject, b.config.prefix); topic[0] == '_' {
			err = errors.Join(err, b.moveTopic(ctx, topic, from, to))
		}
	}
	return err
}

// moveTopic moves a topic. What it has moved when it fails is in both streams,
// under the same IDs.
func (b *Broker) moveTopic(ctx context.Context, topic string, from, to jetstream.Stream) error {
	subject := b.config.prefix + topic
	for next := uint64(1); ; {
		m, err := from.GetMsg(ctx, next, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return from.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(next))
		}
		if err != nil {
			return fmt.Errorf("topic %q: %w", topic, err)
		}
		msg := &natsgo.Msg{Subject: b.config.subject(topic), Header: m.Header, Data: m.Data}
		if _, err := b.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(to.CachedInfo().Config.Name)); err != nil {
			return fmt.Errorf("topic %q: %w", topic, err)
		}
		next = m.Sequence + 1
	}
}
