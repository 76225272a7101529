package micro

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// maxRate bounds the answers that we ask for, in bytes a second, and maxWait
	// how long we do not ask for that.
	maxRate = 1 << 20
	maxWait = time.Minute
	// maxCollect bounds how long answers are waited for, however many come.
	maxCollect = 30 * time.Second
	// maxPending and maxPendingBytes bound the answers that wait to be read.
	maxPending      = 1 << 17
	maxPendingBytes = 256 << 20
	// maxAttempts bounds how often we ask at once again when answers were lost.
	maxAttempts = 5
	// headerStatus and statusNobody are what NATS answers for nobody.
	headerStatus = "Status"
	statusNobody = "503"
)

// A contact is what there is of the server. The registry's mu guards it.
type contact struct {
	begun     bool
	connected bool
	complete  bool // a complete state was read since
	losses    int

	inbox    string
	answers  *natsgo.Subscription
	dropped  int // how many answers were lost so far
	asking   bool
	attempts int
	asked    time.Time // last
	heard    time.Time // an answer, last
	next     time.Time // when to ask
	bytes    int       // of the answers since asked
	wake     chan struct{}
}

// await waits for a complete state.
func (r *Registry) await(ctx context.Context) error {
	timeout := time.NewTimer(maxCollect + callTimeout)
	defer timeout.Stop()
	for {
		if err := r.usable(ctx); err != nil {
			return err
		}
		s, err := r.state()
		if err != nil || s.complete {
			return err
		}
		if !s.connected {
			return errNoConnection()
		}
		select {
		case <-s.changed:
		case <-timeout.C:
			return fmt.Errorf("%w: there was no complete state in time", registry.ErrUnavailable)
		case <-ctx.Done():
		case <-r.life.Done():
		}
	}
}

// follow begins to follow what others register. The caller holds mu.
func (r *Registry) follow() error {
	c := &r.contact
	switch {
	case c.begun:
		return nil
	case r.life.Err() != nil:
		return registry.ErrClosed
	}
	c.inbox, c.wake = r.conn.NewInbox(), make(chan struct{}, 1)
	c.connected = r.conn.IsConnected()
	status := r.conn.StatusChanged(natsgo.CONNECTED, natsgo.RECONNECTING, natsgo.CLOSED)
	changes, err := r.conn.Subscribe(subjectWatch, r.onChange) // first, so that nothing is missed
	if err == nil {
		c.answers, err = r.conn.Subscribe(c.inbox, r.onAnswer)
	}
	if err == nil {
		err = c.answers.SetPendingLimits(maxPending, maxPendingBytes)
	}
	if err != nil {
		r.conn.RemoveStatusListener(status)
		return fmt.Errorf("%w: %w", registry.ErrUnavailable, err)
	}
	c.begun = true
	answers := c.answers
	r.tasks.Go(func() { // ends with Close
		r.ask(status)
		r.conn.RemoveStatusListener(status)
		_ = changes.Unsubscribe() // fails when the connection is closed
		_ = answers.Unsubscribe()
	})
	return nil
}

// ask asks, and asks again, until the registry is closed.
func (r *Registry) ask(status <-chan natsgo.Status) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.life.Done():
			return
		case s := <-status:
			r.turn(s == natsgo.CONNECTED)
		case <-r.contact.wake:
		case <-timer.C:
		}
		timer.Reset(r.step(time.Now()))
	}
}

// turn is for contact that was made or lost.
func (r *Registry) turn(connected bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.contact
	if connected {
		c.connected, c.next, c.attempts = true, time.Time{}, 0
		return
	}
	r.lose()
}

// lose notes that contact is lost. The caller holds mu.
func (r *Registry) lose() {
	c := &r.contact
	if !c.connected {
		return
	}
	c.connected, c.complete, c.asking = false, false, false
	c.losses++
	r.found.reprieve()
	r.notify()
}

// step does what there is to do, and returns when there is more.
func (r *Registry) step(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.contact
	if !c.connected {
		return maxWait // the status tells earlier
	}
	if !c.asking {
		if wait := c.next.Sub(now); wait > 0 {
			return wait
		}
		return r.question(now)
	}
	if wait := min(c.heard.Add(r.window).Sub(now), c.asked.Add(maxCollect).Sub(now)); wait > 0 {
		return wait
	}
	r.settle(now)
	return max(c.next.Sub(now), 0)
}

// question asks everybody for everything. The caller holds mu.
func (r *Registry) question(now time.Time) time.Duration {
	c := &r.contact
	if err := r.conn.PublishRequest(subjectQuery, c.inbox, []byte(`{"Service":null,"Action":"`+actionList+`"}`)); err != nil {
		r.lose()
		c.connected = r.conn.IsConnected() // else the status tells
		c.next = now.Add(r.interval)
		return r.interval
	}
	c.asking, c.asked, c.heard, c.bytes = true, now, now, 0
	return r.window
}

// settle ends the time for answers. The caller holds mu.
func (r *Registry) settle(now time.Time) {
	c := &r.contact
	c.asking = false
	dropped, _ := c.answers.Dropped() // fails when the connection is closed
	lost := dropped != c.dropped
	c.dropped = dropped
	changed := r.found.settle(lost)
	wait := max(r.interval, min(time.Duration(c.bytes)*time.Second/maxRate, maxWait))
	c.next = now.Add(wait*4/5 + rand.N(wait*2/5)) //nolint:gosec // jitter is no secret
	if c.attempts++; lost && c.attempts < maxAttempts {
		c.next = now // what was read is not read again: this time we are faster
	} else if !c.complete {
		c.complete, changed = true, true
	}
	if changed {
		r.notify()
	}
}

// onChange takes a change that somebody tells.
func (r *Registry) onChange(m *natsgo.Msg) {
	if m.Header.Get(headerFrom) == r.id {
		return // it is known here
	}
	h, err := hear(m.Data)
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := false
	switch {
	case err != nil:
		r.found.leaveOut(registry.Omission{Key: subjectWatch, Reason: reason(err)}, r.found.round)
	case h.Action == actionCreate, h.Action == actionUpdate:
		changed = r.found.create(h.Service)
	case h.Action == actionDelete:
		changed = r.found.delete(h.Service)
	}
	r.heard(changed)
}

// onAnswer takes an answer.
func (r *Registry) onAnswer(m *natsgo.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.contact
	if len(m.Data) == 0 && m.Header.Get(headerStatus) == statusNobody {
		if c.asking && c.bytes == 0 {
			c.heard = c.heard.Add(-r.window)
			select {
			case c.wake <- struct{}{}:
			default: // it is awake
			}
		}
		return
	}
	c.heard, c.bytes = time.Now(), c.bytes+len(m.Data)
	r.heard(r.found.answer(m.Data))
}

// heard sees to what a message has changed. The caller holds mu.
func (r *Registry) heard(changed bool) {
	r.report()
	if changed && r.contact.complete {
		r.notify()
	}
}

// notify wakes those who wait for a change. The caller holds mu.
func (r *Registry) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}
