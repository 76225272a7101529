package push

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/upstream"
)

const (
	// maxListed is how many dead letters are listed, and maxOlder how many more
	// are counted.
	maxListed = 1000
	maxOlder  = 100_000
	// readTimeout bounds reading the topic of dead letters.
	readTimeout = 30 * time.Second
	// readAhead is how many of its messages are in flight.
	readAhead = 1000
)

// A DeadLetterList is a list of dead letters.
type DeadLetterList struct {
	// DeadLetters are those that have not been replayed, the newest 1,000, the
	// oldest first. Their Header and Body are left out.
	DeadLetters []*DeadLetter `json:"dead_letters"`
	// More is how many older ones there are; beyond 100,000 they are not counted.
	More int `json:"more"`
}

// DeadLetters lists the dead letters, of all gateways. It reads their topic from
// the beginning to a mark that it publishes, which needs a broker with
// [broker.Capabilities.History] and Ordered. Errors, here and in the methods
// below, are [*goapi.Error].
func (p *Pusher) DeadLetters(ctx context.Context) (*DeadLetterList, error) {
	s := shelf{letters: make(map[string]*DeadLetter), older: make(map[string]struct{})}
	err := p.readLetters(ctx, func(m *broker.Message) {
		switch m.Header[headerLetter] {
		case letterGivenUp:
			s.add(letterOf(m))
		case letterReplayed:
			s.remove(m.Header[headerOf])
		}
	})
	if err != nil {
		return nil, err
	}
	return s.list(), nil
}

// DeadLetter returns a dead letter, whole. It is 404 if there is none of that ID,
// or if it has been replayed.
func (p *Pusher) DeadLetter(ctx context.Context, id string) (*DeadLetter, error) {
	var found *DeadLetter
	err := p.readLetters(ctx, func(m *broker.Message) {
		switch kind := m.Header[headerLetter]; {
		case kind == letterGivenUp && m.ID == id:
			found = letterOf(m)
			found.Header, found.Body = messageHeader(m.Header), m.Body
		case kind == letterReplayed && m.Header[headerOf] == id:
			found = nil
		}
	})
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, goapi.NewError(http.StatusNotFound, "there is no such dead letter, or it has been replayed", nil)
	}
	return found, nil
}

// Replay pushes a dead letter again, once, to its service only, and with its
// message's own ID. If the service takes it, it is listed no more; else the error
// says why it does not. Run must be under way: it knows the services.
func (p *Pusher) Replay(ctx context.Context, id string) error {
	l, err := p.DeadLetter(ctx, id)
	if err != nil {
		return err
	}
	to := p.subscriber(key{l.Service, l.Topic})
	if to == nil {
		return goapi.NewError(http.StatusServiceUnavailable,
			fmt.Sprintf("service %s does not ask for topic %s now, or may not have it", l.Service, l.Topic), nil)
	}
	if err := p.push(ctx, to, l.message()); err != nil {
		return notTaken(l.Service, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	done := &broker.Message{ID: rand.Text(), Header: map[string]string{headerLetter: letterReplayed, headerOf: id}}
	if err := p.broker.Publish(ctx, p.opts.DeadLetters, done); err != nil {
		return goapi.NewError(http.StatusServiceUnavailable,
			fmt.Sprintf("service %s has taken the message, but the broker did not take a note of that: it is listed still", l.Service), err)
	}
	return nil
}

// subscriber returns who gets a topic for a service, or nil.
func (p *Pusher) subscriber(k key) *subscriber {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.running[k]; s != nil {
		return s.to.Load()
	}
	return nil
}

// notTaken is the error for a dead letter that the service does not take.
func notTaken(service string, err error) error {
	code := http.StatusBadGateway
	switch {
	case errors.Is(err, upstream.ErrNoNodes), errors.Is(err, upstream.ErrOverloaded):
		code = http.StatusServiceUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		code = http.StatusGatewayTimeout
	case errors.Is(err, context.Canceled):
		code = goapi.StatusClientClosedRequest
	}
	return goapi.NewError(code, fmt.Sprintf("service %s did not take the message: %s", service, judge(err).reason), err)
}

// readLetters calls visit for each message on the topic of dead letters, in
// order, up to now.
func (p *Pusher) readLetters(ctx context.Context, visit func(*broker.Message)) error {
	if !p.caps.History || !p.caps.Ordered {
		return goapi.NewError(http.StatusNotImplemented,
			"dead letters can be read on a broker that keeps messages in order, which this one does not: subscribe to topic "+p.opts.DeadLetters+" instead", nil)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if err := p.readTo(ctx, rand.Text(), visit); err != nil {
		return goapi.NewError(http.StatusServiceUnavailable, "the broker does not give out the dead letters", err)
	}
	return nil
}

// readTo publishes a mark and reads until it is there.
func (p *Pusher) readTo(ctx context.Context, mark string, visit func(*broker.Message)) error {
	topic := p.opts.DeadLetters
	if err := p.broker.Publish(ctx, topic, &broker.Message{ID: mark, Header: map[string]string{headerLetter: letterMark}}); err != nil {
		return err
	}
	sub, err := p.broker.Subscribe(ctx, topic, &broker.SubscribeOptions{Start: broker.Start{Earliest: true}, InFlight: readAhead})
	if err != nil {
		return err
	}
	defer sub.Close()
	for {
		d, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		if d.ID == mark {
			return nil
		}
		visit(&d.Message)
		if err := d.Ack(ctx); err != nil {
			return err
		}
	}
}

// A shelf keeps the newest dead letters of those that are read, oldest first.
type shelf struct {
	letters map[string]*DeadLetter
	order   []*DeadLetter       // some of which are gone
	older   map[string]struct{} // that were there, and are not kept
}

// add adds a letter, unless it is there.
func (s *shelf) add(l *DeadLetter) {
	if _, older := s.older[l.ID]; older || s.letters[l.ID] != nil {
		return
	}
	s.letters[l.ID] = l
	s.order = append(s.order, l)
	if len(s.letters) > maxListed {
		oldest := s.pop()
		if len(s.older) < maxOlder {
			s.older[oldest.ID] = struct{}{}
		}
	}
	if len(s.order) > 2*maxListed {
		s.tidy()
	}
}

// pop takes the oldest letter away.
func (s *shelf) pop() *DeadLetter {
	for {
		l := s.order[0]
		s.order = s.order[1:]
		if s.letters[l.ID] == l { // else it is gone
			delete(s.letters, l.ID)
			return l
		}
	}
}

// remove takes a letter away.
func (s *shelf) remove(id string) {
	delete(s.letters, id)
	delete(s.older, id)
}

// tidy forgets the letters that are gone.
func (s *shelf) tidy() {
	s.order = slices.DeleteFunc(s.order, func(l *DeadLetter) bool { return s.letters[l.ID] != l })
}

func (s *shelf) list() *DeadLetterList {
	s.tidy()
	return &DeadLetterList{DeadLetters: append([]*DeadLetter{}, s.order...), More: len(s.older)}
}
