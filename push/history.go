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
	readAhead = 50
	// maxHeld is how many bytes of dead letters are read before they are replayed.
	maxHeld = 64 << 20
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
// the beginning to where it ends, which needs a broker with
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
	found, err := p.find(ctx, []string{id})
	if err != nil {
		return nil, err
	}
	if l := found[id]; l != nil {
		return l, nil
	}
	return nil, noLetter()
}

// noLetter is the error for an ID that is no dead letter's.
func noLetter() error {
	return goapi.NewError(http.StatusNotFound, "there is no such dead letter, or it has been replayed", nil)
}

// find returns those of the dead letters that are there, by ID. They are whole; what
// goes beyond maxHeld is nil. At least one is whole, or else is not there, so that
// who asks again for those that are nil comes to an end.
func (p *Pusher) find(ctx context.Context, ids []string) (map[string]*DeadLetter, error) {
	wanted := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		wanted[id] = struct{}{}
	}
	found := pile{letters: make(map[string]*DeadLetter), sizes: make(map[string]int)}
	err := p.readLetters(ctx, func(m *broker.Message) {
		switch m.Header[headerLetter] {
		case letterReplayed:
			found.remove(m.Header[headerOf])
		case letterGivenUp:
			if _, ok := wanted[m.ID]; ok {
				found.add(m)
			}
		}
	})
	return found.letters, err
}

// Replay pushes a dead letter again, once, to its service only, and with its
// message's own ID. If the service takes it, it is listed no more; else the error
// says why it does not. It is 409 for one that is not whole. Run must be under
// way: it knows the services.
func (p *Pusher) Replay(ctx context.Context, id string) error {
	l, err := p.DeadLetter(ctx, id)
	if err != nil {
		return err
	}
	if err := p.replay(ctx, l); err != nil {
		return err
	}
	return p.noteReplayed(ctx, l)
}

// ReplayEach replays dead letters, one after the other, and calls tell with each
// ID, once, and with what Replay returns for it. It reads their topic once, or
// once for each 64 MiB of them. When the broker takes no note of one, it goes no
// further: the others would be pushed again, too.
func (p *Pusher) ReplayEach(ctx context.Context, ids []string, tell func(id string, err error)) {
	left := distinct(ids)
	for len(left) > 0 {
		found, err := p.find(ctx, left)
		if err == nil {
			left, err = p.replayFound(ctx, found, left, tell)
		}
		if err != nil {
			for _, id := range left {
				tell(id, err)
			}
			return
		}
	}
}

// replayFound replays what find has returned for IDs. It returns those that it
// did not come to, and an error if there is no sense in going on with them.
func (p *Pusher) replayFound(ctx context.Context, found map[string]*DeadLetter, ids []string, tell func(string, error)) (left []string, err error) {
	for i, id := range ids {
		l, ok := found[id]
		switch {
		case !ok:
			tell(id, noLetter())
			continue
		case l == nil:
			left = append(left, id)
			continue
		}
		err := p.replay(ctx, l)
		if err != nil {
			tell(id, err)
			continue
		}
		err = p.noteReplayed(ctx, l)
		tell(id, err)
		if err != nil {
			return append(left, ids[i+1:]...), goapi.NewError(http.StatusServiceUnavailable,
				"it was not pushed: the broker did not take a note of one before it", err)
		}
	}
	return left, nil
}

// distinct returns each ID once, in order.
func distinct(ids []string) []string {
	var once []string
	known := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		if _, ok := known[id]; !ok {
			known[id] = struct{}{}
			once = append(once, id)
		}
	}
	return once
}

// replay pushes a dead letter.
func (p *Pusher) replay(ctx context.Context, l *DeadLetter) error {
	if l.Cut != "" {
		return goapi.NewError(http.StatusConflict,
			fmt.Sprintf("the dead letter is not whole, as its message was too large to keep: publish that again instead; it was at position %q of topic %s", l.Position, l.Topic), nil)
	}
	to := p.subscriber(key{l.Service, l.Topic})
	if to == nil {
		return goapi.NewError(http.StatusServiceUnavailable,
			fmt.Sprintf("service %s does not ask for topic %s now, or may not have it", l.Service, l.Topic), nil)
	}
	if err := p.push(ctx, to, l.message()); err != nil {
		return notTaken(l.Service, err)
	}
	return nil
}

// noteReplayed has a dead letter listed no more.
func (p *Pusher) noteReplayed(ctx context.Context, l *DeadLetter) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	done := &broker.Message{ID: rand.Text(), Header: map[string]string{headerLetter: letterReplayed, headerOf: l.ID}}
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
	last, err := p.broker.Last(ctx, p.opts.DeadLetters)
	if err == nil && last != "" {
		err = p.readTo(ctx, last, visit)
	}
	if err != nil {
		return goapi.NewError(http.StatusServiceUnavailable, "the broker does not give out the dead letters", err)
	}
	return nil
}

// readTo reads until the message at a position was visited.
func (p *Pusher) readTo(ctx context.Context, last string, visit func(*broker.Message)) error {
	sub, err := p.broker.Subscribe(ctx, p.opts.DeadLetters, &broker.SubscribeOptions{Start: broker.Start{Earliest: true}, InFlight: readAhead})
	if err != nil {
		return err
	}
	defer sub.Close()
	for {
		d, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		visit(&d.Message)
		if d.Position == last {
			return nil
		}
		if err := d.Ack(ctx); err != nil {
			return err
		}
	}
}

// A pile holds dead letters whole, as many as there is room for.
type pile struct {
	letters map[string]*DeadLetter // nil for those that there was no room for
	sizes   map[string]int         // of the others
	held    int                    // their sum
}

// add adds a letter, unless it is there.
func (p *pile) add(m *broker.Message) {
	size := m.Size()
	switch {
	case p.letters[m.ID] != nil:
		return
	case p.held > 0 && p.held+size > maxHeld:
		p.letters[m.ID] = nil
		return
	}
	l := letterOf(m)
	l.Header, l.Body = messageHeader(m.Header), m.Body
	p.letters[m.ID], p.sizes[m.ID] = l, size
	p.held += size
}

// remove takes a letter away.
func (p *pile) remove(id string) {
	p.held -= p.sizes[id]
	delete(p.letters, id)
	delete(p.sizes, id)
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
