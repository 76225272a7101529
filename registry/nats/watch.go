package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// minRetry and maxRetry bound the wait between attempts at a feed.
	minRetry = 50 * time.Millisecond
	maxRetry = 2 * time.Second
	// maxBatch bounds how many changes one state may take in.
	maxBatch = 4096
)

// errSilent is the loss of contact with a bucket whose server is there. One that
// was deleted is followed by an empty one, which says nothing of the services:
// whoever watches is to know that there was none for a while.
var errSilent = fmt.Errorf("%w: NATS says nothing more of the bucket", registry.ErrUnavailable)

// A watcher follows the bucket, or one service in it. It runs nothing of its
// own: Next reads what the server has sent.
type watcher struct {
	registry *Registry
	service  string          // "" for all
	life     context.Context // until the watcher or the registry is closed
	end      context.CancelFunc

	mu      sync.Mutex // held by Next, and by Close for the rest
	status  chan natsgo.Status
	feed    *feed         // nil without contact
	lost    bool          // the loss of contact was returned
	retry   time.Duration // to wait before the next attempt at a feed
	records registry.Records
	leftOut []registry.Omission // that was reported
	begun   bool
	last    []*registry.Service
}

// watch returns a watcher of a service, or of all if it is "".
func (r *Registry) watch(service string) *watcher {
	w := &watcher{registry: r, service: service}
	w.life, w.end = context.WithCancel(r.life)
	w.status = r.conn.StatusChanged(natsgo.CONNECTED, natsgo.RECONNECTING, natsgo.CLOSED)
	return w
}

// Next implements [registry.Watcher].
func (w *watcher) Next(ctx context.Context) ([]*registry.Service, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.life, cancel)()
	for {
		if err := w.usable(ctx); err != nil {
			return nil, err
		}
		if w.feed == nil {
			if err := w.connect(ctx); err != nil {
				return nil, w.reason(err)
			}
			continue
		}
		if w.changed() {
			return w.last, nil
		}
		if err := w.wait(ctx); err != nil {
			return nil, w.reason(err)
		}
	}
}

// Close implements [registry.Watcher].
func (w *watcher) Close() error {
	w.end()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop()
	if w.status != nil {
		w.registry.conn.RemoveStatusListener(w.status)
		w.status = nil
	}
	return nil
}

// usable returns why Next is to end, or nil.
func (w *watcher) usable(ctx context.Context) error {
	if w.life.Err() != nil {
		return registry.ErrClosed
	}
	return ctx.Err()
}

// reason returns why Next fails with err: what happens to a source that is being
// closed says nothing of it.
func (w *watcher) reason(err error) error {
	if w.life.Err() != nil {
		return registry.ErrClosed
	}
	return err
}

// changed says whether there is a state to return: one that was not returned
// yet, or the first since contact was lost.
func (w *watcher) changed() bool {
	if !w.feed.complete() {
		return false
	}
	back := w.lost
	w.lost, w.retry = false, 0
	if keys := w.feed.takeKeys(); keys != nil {
		w.records.Retain(func(key string) bool { return keys[key] })
	}
	w.report()
	services := w.records.Services()
	if w.begun && !back && slices.Equal(services, w.last) {
		return false
	}
	w.begun, w.last = true, services
	return true
}

// wait waits for something to happen, and sees to it.
func (w *watcher) wait(ctx context.Context) error {
	silence := time.NewTimer(w.feed.patience())
	defer silence.Stop()
	select {
	case <-ctx.Done():
	case status := <-w.status:
		if status != natsgo.CONNECTED {
			w.drop()
			return w.lose(fmt.Errorf("%w: the connection to NATS was lost", registry.ErrUnavailable))
		}
	case <-silence.C:
		if len(w.feed.messages) == 0 { // the bucket is gone, or the server has forgotten us
			w.drop()
			return w.lose(errSilent)
		}
	case m := <-w.feed.messages:
		return w.take(m)
	}
	return nil
}

// take sees to a message, and to those that are there besides. It returns why
// contact is lost; messages that were are read anew.
func (w *watcher) take(m *natsgo.Msg) error {
	for n := 1; ; n++ {
		c, err := w.feed.read(m)
		if err != nil {
			w.registry.log.Debug("registry bucket is read anew", slog.Any("reason", err))
			w.drop()
			if errors.Is(err, errGap) {
				return nil
			}
			return w.lose(fmt.Errorf("%w: %w", registry.ErrUnavailable, err))
		}
		if c.key != "" {
			w.apply(c)
		}
		if n == maxBatch {
			return nil
		}
		select {
		case m = <-w.feed.messages:
		default:
			return nil
		}
	}
}

// apply makes a change to the records.
func (w *watcher) apply(c change) {
	if c.removed {
		w.records.Delete(c.key)
		return
	}
	_ = w.records.PutOf(c.key, c.value, func(service string) bool { // what is left out is reported with the state
		return isOf(c.key, service)
	})
}

// report tells the registry what a complete state of all services lacks.
func (w *watcher) report() {
	if w.service != "" {
		return
	}
	if list := w.records.LeftOut(); !w.begun || !slices.Equal(list, w.leftOut) {
		w.leftOut = list
		w.registry.leftOut.Tell(w.registry.log, list)
	}
}

// connect makes a feed. It returns the first error since there was a state;
// after that, nil and no feed ask for another attempt.
func (w *watcher) connect(ctx context.Context) error {
	if err := w.pause(ctx); err != nil {
		return err
	}
	w.retry = min(max(2*w.retry, minRetry), maxRetry)
	made := false
	err := w.registry.call(ctx, func(ctx context.Context) error {
		f, err := w.registry.newFeed(ctx, w.service)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			if err := w.registry.makeBucket(ctx); err != nil {
				return err
			}
			f, err = w.registry.newFeed(ctx, w.service)
			made = true
		}
		w.feed = f
		return err
	})
	if err == nil && made && w.begun {
		return w.lose(errSilent)
	}
	if err == nil {
		return nil
	}
	if err := w.usable(ctx); err != nil {
		return err
	}
	return w.lose(err)
}

// pause waits before an attempt at a feed, until the connection comes back at
// most.
func (w *watcher) pause(ctx context.Context) error {
	if w.retry == 0 {
		w.skipStatus()
		return nil
	}
	timer := time.NewTimer(w.retry/2 + rand.N(w.retry/2)) //nolint:gosec // jitter is no secret
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return w.usable(ctx)
		case <-timer.C:
			w.skipStatus()
			return nil
		case status := <-w.status:
			if status == natsgo.CONNECTED {
				w.retry = 0
				w.skipStatus()
				return nil
			}
		}
	}
}

// skipStatus forgets what happened to the connection before an attempt.
func (w *watcher) skipStatus() {
	for len(w.status) > 0 {
		<-w.status
	}
}

// lose returns err, once for each loss of contact.
func (w *watcher) lose(err error) error {
	if w.lost {
		return nil
	}
	w.lost = true
	return err
}

// drop ends the feed, if there is one.
func (w *watcher) drop() {
	if w.feed != nil {
		w.feed.close()
		w.feed = nil
	}
}
