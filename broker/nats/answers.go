package nats

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/broker"
)

const (
	// soon is within how long nearly every answer comes. Until then nobody
	// looks at anything else, which would cost more than the request does.
	soon = 20 * time.Millisecond
	// statusNobody says that nobody is there to answer.
	statusNobody = "503"
)

// answers are those of the stream to what is published. They come to one
// subscription for all, as those of the library's requests do; but to wait for
// one needs no context, channel or timer of its own.
type answers struct {
	subject string // begins where they come to
	sub     *natsgo.Subscription
	idle    sync.Pool // of *waiter

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]*waiter
}

// A waiter waits for an answer.
type waiter struct {
	answer chan *natsgo.Msg // of one
	timer  *time.Timer
}

// open subscribes to what comes.
func (a *answers) open(conn *natsgo.Conn) error {
	a.subject, a.waiting = conn.NewInbox()+".", make(map[uint64]*waiter)
	a.idle.New = func() any {
		w := &waiter{answer: make(chan *natsgo.Msg, 1), timer: time.NewTimer(soon)}
		w.timer.Stop()
		return w
	}
	var err error
	a.sub, err = conn.Subscribe(a.subject+"*", a.receive)
	return err
}

// close ends the subscription.
func (a *answers) close() {
	if a.sub != nil {
		_ = a.sub.Unsubscribe() // fails when the connection is closed, and the subscription with it
	}
}

// receive hands an answer to who waits for it, if anybody still does.
func (a *answers) receive(m *natsgo.Msg) {
	number, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, a.subject), 36, 64)
	if err != nil {
		return // of nothing that was sent
	}
	if w := a.take(number); w != nil {
		w.answer <- m
	}
}

// add returns a waiter, and the number under which its answer comes.
func (a *answers) add() (*waiter, uint64) {
	w, _ := a.idle.Get().(*waiter)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	a.waiting[a.next] = w
	return w, a.next
}

// take returns who waits for an answer, who then does no more.
func (a *answers) take(number uint64) *waiter {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.waiting[number]
	delete(a.waiting, number)
	return w
}

// request sends a message, and returns the answer.
func (b *Broker) request(ctx context.Context, m *natsgo.Msg) (*natsgo.Msg, error) {
	w, number := b.answers.add()
	m.Reply = b.answers.subject + strconv.FormatUint(number, 36)
	err := b.conn.PublishMsg(m)
	var answer *natsgo.Msg
	if err == nil {
		answer, err = b.await(ctx, w)
	}
	if answer != nil || b.answers.take(number) != nil { // else one is being handed over
		b.answers.idle.Put(w)
	}
	if err == nil && len(answer.Data) == 0 && answer.Header.Get(headerStatus) == statusNobody {
		err = natsgo.ErrNoResponders
	}
	return answer, err
}

// await waits for an answer, for as long as there is contact and callTimeout at
// most.
func (b *Broker) await(ctx context.Context, w *waiter) (*natsgo.Msg, error) {
	w.timer.Reset(soon)
	defer w.timer.Stop()
	select {
	case answer := <-w.answer:
		return answer, nil
	case <-w.timer.C:
	}
	contact := b.getContact()
	w.timer.Reset(callTimeout - soon)
	select {
	case answer := <-w.answer:
		return answer, nil
	case <-w.timer.C:
		return nil, context.DeadlineExceeded
	case <-contact.Done():
		return nil, errLost
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.life.Done():
		return nil, broker.ErrClosed
	}
}
