package nats

import (
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
)

const (
	// working tells the server that a message is not forgotten.
	working = "+WPI"
	// fresh is for how long a message is taken to have just come.
	fresh = 50 * time.Millisecond
)

// A received is a message, and when it came or the server was last told that it
// is not forgotten.
type received struct {
	*natsgo.Msg

	at time.Time
}

// An inbox holds what the server has sent until Next takes it. While anything
// waits for long, the server is told, so that it is not sent again: to have
// waited here is no attempt. But where Next is not called any more, others are to
// have it.
type inbox struct {
	subscription *subscription
	came         chan struct{} // has a value when something was put

	mu      sync.Mutex
	waiting []received
	timer   *time.Timer // runs while something waits; nil before the first
	closed  bool
	asking  bool      // Next is called
	asked   time.Time // when it was last

	rushing *time.Timer // ends the place in the rush; nil without one
	owed    int         // messages that are to come in the rush
	reply   string      // where the server says that no more come
}

// open readies an inbox.
func (i *inbox) open(s *subscription) {
	i.subscription, i.came = s, make(chan struct{}, 1)
}

// put has a message wait, unless the inbox is closed.
func (i *inbox) put(m *natsgo.Msg) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return false
	}
	i.waiting = append(i.waiting, received{m, time.Now()})
	if i.rushing != nil {
		i.count(m)
	}
	if len(i.waiting) == 1 {
		i.arm()
	}
	select {
	case i.came <- struct{}{}:
	default:
	}
	return true
}

// wanted notes that Next is called, until the function is that it returns.
func (i *inbox) wanted() func() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asking = true
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.asking, i.asked = false, time.Now()
	}
}

// arm has the server told in time. The caller holds mu.
func (i *inbox) arm() {
	wait := max(i.subscription.consumer.patience()/3, fresh)
	if i.timer == nil {
		i.timer = time.AfterFunc(wait, i.tell)
		return
	}
	i.timer.Reset(wait)
}

// tell tells the server of all that waits.
func (i *inbox) tell() {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	idle := !i.asking && now.Sub(i.asked) > i.subscription.consumer.patience()
	if i.closed || len(i.waiting) == 0 {
		return
	}
	defer i.arm()
	if idle {
		return
	}
	for n, r := range i.waiting {
		overdue := now.Sub(r.at) >= i.subscription.consumer.patience() // another may have it already
		if r.Reply != "" && !overdue && i.subscription.broker.conn.Publish(r.Reply, []byte(working)) == nil {
			i.waiting[n].at = now
		}
	}
}

// rush notes that n messages are asked for that the server has: the place that
// the subscription holds for it is free when they are here, whether Next has
// taken them or not.
func (i *inbox) rush(n int, reply string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.owed, i.reply = n, reply
	i.rushing = time.AfterFunc(2*rush, i.rest) // the server may say nothing any more
}

// count sees whether a message is the last of a rush. The caller holds mu.
func (i *inbox) count(m *natsgo.Msg) {
	switch status := m.Header.Get(headerStatus); {
	case m.Reply != "":
		if i.owed--; i.owed == 0 {
			i.leave()
		}
	case m.Subject == i.reply && status != statusHeartbeat:
		i.leave()
	}
}

// rest gives up the place in the rush, if there is one.
func (i *inbox) rest() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.leave()
}

// leave is rest for who holds mu.
func (i *inbox) leave() {
	if i.rushing == nil {
		return
	}
	i.rushing.Stop()
	i.rushing = nil
	<-i.subscription.broker.rush
}

// take returns what has waited longest.
func (i *inbox) take() (r received, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.waiting) == 0 {
		return received{}, false
	}
	r = i.waiting[0]
	i.waiting[0] = received{}
	i.waiting = i.waiting[1:]
	return r, true
}

// clear drops all that waits.
func (i *inbox) clear() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiting = nil
}

// close takes nothing more, and returns what waits.
func (i *inbox) close() []received {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	if i.timer != nil {
		i.timer.Stop()
	}
	waiting := i.waiting
	i.waiting = nil
	return waiting
}
