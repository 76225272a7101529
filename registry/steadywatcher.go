package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// steadyWatcher follows a source for a Steady. It runs nothing of its own: Next
// asks the source until there is something to tell.
type steadyWatcher struct {
	steady *Steady
	life   context.Context // until Close
	end    context.CancelFunc

	mu      sync.Mutex // held by Next, and by Close for the rest
	source  Watcher    // nil before the source can be watched, and when that failed
	keeper  *keeper
	contact bool      // the source has said something since contact was lost; whoever calls Next may look
	lost    bool      // contact is known to be lost
	began   time.Time // of the first Next

	fresh bool  // there is a state to return
	loss  error // to return; after the state

	failed time.Time     // when the source last failed
	delay  time.Duration // from then to the next attempt
}

// Next implements [Watcher].
func (w *steadyWatcher) Next(ctx context.Context) ([]*Service, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.life, cancel)()
	if w.began.IsZero() {
		w.began = time.Now()
	}
	for {
		switch {
		case w.life.Err() != nil:
			return nil, ErrClosed
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case w.fresh:
			w.fresh = false
			return w.keeper.state, nil
		case w.loss != nil:
			err := w.loss
			w.loss = nil
			return nil, err
		}
		w.step(ctx)
	}
}

// Close implements [Watcher].
func (w *steadyWatcher) Close() error {
	w.end()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steady.leave(w)
	return w.drop()
}

// drop closes the watcher of the source.
func (w *steadyWatcher) drop() error {
	if w.source == nil {
		return nil
	}
	source := w.source
	w.source = nil
	return source.Close()
}

// step waits for what comes first: news of the source, or that it is time for
// something.
func (w *steadyWatcher) step(ctx context.Context) {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if due := w.due(); !due.IsZero() {
		limited, cancel = context.WithDeadline(ctx, due)
	}
	defer cancel()
	services, err := w.ask(limited)
	switch {
	case err == nil:
		w.take(services)
	case errors.Is(err, ErrUnavailable):
		w.fail(err)
	case ctx.Err() != nil: // Next sees to it
	case limited.Err() == nil:
		w.fail(errors.Join(err, w.drop()))
	case w.contact:
		w.release()
	default:
		w.lose(fmt.Errorf("%w: no answer within %v", ErrUnavailable, w.steady.opts.Wait))
	}
}

// due returns when there is something to do that is not to wait for the source.
// Without contact nothing is let go.
func (w *steadyWatcher) due() time.Time {
	switch {
	case w.contact:
		return w.keeper.next
	case !w.lost && len(w.keeper.state) > 0:
		return w.began.Add(w.steady.opts.Wait)
	}
	return time.Time{}
}

// ask returns what the source says next.
func (w *steadyWatcher) ask(ctx context.Context) ([]*Service, error) {
	if err := w.pause(ctx); err != nil {
		return nil, err
	}
	if w.source == nil {
		source, err := w.steady.source.Watch(ctx)
		if err != nil {
			return nil, err
		}
		w.source = source
	}
	return w.source.Next(ctx)
}

// pause waits before the source is asked again after it failed.
func (w *steadyWatcher) pause(ctx context.Context) error {
	wait := time.Until(w.failed.Add(w.delay))
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take sees to a state of the source.
func (w *steadyWatcher) take(services []*Service) {
	k := w.keeper
	before := k.state
	k.update(services, time.Now())
	k.seen = true
	w.fresh = !w.contact || !slices.Equal(before, k.state)
	w.contact, w.lost, w.loss = true, false, nil
	w.steady.follow(w, nil)
	w.logHeld()
}

// fail sees to an error of the source, which is asked again after a while.
func (w *steadyWatcher) fail(err error) {
	now := time.Now()
	w.delay = min(2*w.delay, lastWait)
	if now.Sub(w.failed) > 2*lastWait {
		w.delay = firstWait
	}
	w.failed = now
	if !errors.Is(err, ErrUnavailable) {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	w.lose(err)
}

// lose notes that there is no contact, which is told once. If nothing was told
// yet, what is known is told first.
func (w *steadyWatcher) lose(err error) {
	if w.lost {
		w.steady.follow(w, err)
		return
	}
	if !w.contact && len(w.keeper.state) > 0 {
		w.fresh, w.keeper.seen = true, true
		w.logSnapshot(err)
	}
	w.contact, w.lost, w.loss = false, true, err
	w.keeper.lose()
	w.steady.follow(w, err)
}

// release lets go of what was held back long enough.
func (w *steadyWatcher) release() {
	k := w.keeper
	before := k.state
	k.release(time.Now())
	w.fresh = !slices.Equal(before, k.state)
	w.steady.follow(w, nil)
	w.steady.opts.Logger.Info("held back nodes let go", slog.Int("held", len(k.held)))
}

// maxLogged bounds the services that a line of the log names.
const maxLogged = 10

// logHeld logs what was held back since it was last called: one line for each
// reason.
func (w *steadyWatcher) logHeld() {
	incidents := w.keeper.incidents
	w.keeper.incidents = nil
	for _, reason := range []string{reasonResumed, reasonServices, reasonNodes} {
		var services []string
		var until time.Time
		nodes := 0
		for _, h := range incidents {
			if h.Reason != reason {
				continue
			}
			if len(services) < maxLogged {
				services = append(services, h.Service)
			}
			nodes += len(h.Nodes)
			until = h.Until
		}
		if nodes > 0 {
			w.steady.opts.Logger.Warn("nodes held back", slog.String("reason", reason), slog.Int("nodes", nodes),
				slog.Any("services", services), slog.Time("until", until))
		}
	}
}

// logSnapshot logs that the snapshot is told, if that is what it is.
func (w *steadyWatcher) logSnapshot(err error) {
	if status := w.steady.Status(); status.Snapshot {
		w.steady.opts.Logger.Warn("the registry does not answer; its services are those of the snapshot",
			slog.Int("services", w.keeper.count), slog.Duration("age", time.Since(status.Heard).Round(time.Second)), slog.Any("error", err))
	}
}
