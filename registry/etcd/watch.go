package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// maxBatch bounds how many messages one state may take in.
	maxBatch = 4096
	// rereadWait is the least time after which all is read again because
	// records that were left out may fit by now.
	rereadWait = 30 * time.Second
)

// A watcher follows etcd. Next does all the work: beside it, one goroutine
// hands on what etcd sends.
type watcher struct {
	registry *Registry
	life     context.Context // until the watcher or the registry is closed
	end      context.CancelFunc

	mu      sync.Mutex // held by Next, and by Close for the rest
	mirror  mirror
	read    time.Time // when all was last read
	feed    *feed     // nil without contact
	lost    bool      // the loss of contact was returned
	retry   time.Duration
	leftOut []registry.Omission // that was reported
	begun   bool
	last    []*registry.Service
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
	if w.feed.partial {
		return false
	}
	back := w.lost
	w.lost = false
	w.report()
	services := w.mirror.records.Services()
	if w.begun && !back && slices.Equal(services, w.last) {
		return false
	}
	w.begun, w.last = true, services
	return true
}

// report tells the registry what the state lacks.
func (w *watcher) report() {
	list := w.mirror.leftOut()
	if !w.begun || !slices.Equal(list, w.leftOut) {
		w.leftOut = list
		w.registry.leftOut.Tell(w.registry.log, list)
	}
}

// wait waits for something to happen, and sees to it.
func (w *watcher) wait(ctx context.Context) error {
	silence := time.NewTimer(w.feed.patience())
	defer silence.Stop()
	select {
	case <-ctx.Done():
	case msg := <-w.feed.messages:
		w.take(msg)
	case <-silence.C:
		return w.beSilent(ctx)
	}
	return nil
}

// beSilent sees to a time in which nothing happened. A server that does not
// say that it is there has another chance: a proxy of etcd never says it, and
// there may be other members.
func (w *watcher) beSilent(ctx context.Context) error {
	if w.mirror.roomy() && time.Since(w.read) > rereadWait {
		w.mirror.revision = 0
		w.drop()
		return nil
	}
	if !w.feed.dead() {
		return nil
	}
	w.drop()
	bounded, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	if w.registry.try(bounded) == nil || ctx.Err() != nil {
		return nil
	}
	return w.lose(fmt.Errorf("%w: %s: the server is silent", registry.ErrUnavailable, w.registry.name))
}

// take sees to a message, and to those that are there besides. When the feed
// breaks, the next attempt tells whether contact is lost.
func (w *watcher) take(msg message) {
	for n := 1; ; n++ {
		if err := w.feed.read(msg, &w.mirror); err != nil {
			w.registry.log.Debug("registry watch broke", slog.Any("reason", err))
			if errors.Is(err, errGap) || tooLong(err) {
				w.mirror.revision = 0
			}
			w.drop()
			return
		}
		if n == maxBatch {
			return
		}
		select {
		case msg = <-w.feed.messages:
		default:
			return
		}
	}
}

// connect makes a feed. It returns the first error since there was contact;
// after that, nil and no feed ask for another attempt.
func (w *watcher) connect(ctx context.Context) error {
	if err := w.pause(ctx); err != nil {
		return w.usable(ctx)
	}
	w.retry = min(max(2*w.retry, minRetry), maxRetry)
	err := w.resume(ctx)
	if err == nil {
		return nil
	}
	if err := w.usable(ctx); err != nil {
		return err
	}
	if errors.Is(err, errGap) || tooLong(err) {
		w.mirror.revision = 0
		return nil
	}
	if errors.Is(err, errBehind) {
		if w.retry < maxRetry {
			return nil // it takes a moment
		}
		err = fmt.Errorf("%w: %s: %w", registry.ErrUnavailable, w.registry.name, err)
	}
	return w.lose(err)
}

// resume makes a feed that goes on where the last one broke, or one that begins
// with all read again.
func (w *watcher) resume(ctx context.Context) error {
	if w.mirror.revision > 0 {
		ok, err := w.registry.continues(ctx, &w.mirror)
		if err != nil {
			return err
		}
		if !ok {
			w.mirror.revision = 0
		}
	}
	if w.mirror.revision == 0 {
		if err := w.registry.read(ctx, &w.mirror, w.registry.prefix); err != nil {
			return err
		}
		w.read = time.Now()
	}
	f, err := w.registry.newFeed(ctx, w.mirror.revision)
	if err != nil {
		return err
	}
	w.feed = f
	return nil
}

// pause waits before an attempt at a feed, after a loss until there is a
// connection.
func (w *watcher) pause(ctx context.Context) error {
	if w.retry > 0 {
		timer := time.NewTimer(w.retry/2 + rand.N(w.retry/2)) //nolint:gosec // jitter is no secret
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
	if w.lost {
		return w.registry.connected(ctx)
	}
	return nil
}

// lose returns err, once for each loss of contact.
func (w *watcher) lose(err error) error {
	if w.lost {
		return nil
	}
	w.lost = true
	return err
}

// drop ends the feed, if there is one. A feed that lasted may be followed by
// another at once.
func (w *watcher) drop() {
	if w.feed == nil {
		return
	}
	if time.Since(w.feed.begun) > maxRetry {
		w.retry = 0
	}
	w.feed.close()
	w.feed = nil
}
