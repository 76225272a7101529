package registry

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// multiWatcher follows the members of a Multi, each in a goroutine of its own
// that ends with Close.
type multiWatcher struct {
	multi  *Multi
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
	closed chan struct{}
	wake   chan struct{} // holds one token: there is news

	mu   sync.Mutex // may be held when that of multi is taken, not the reverse
	news []news     // by member

	// What follows belongs to the goroutine that calls Next.
	deadline time.Time // for members to say something; zero before the first Next
	merged   *merge
	last     []*Service
	begun    bool // last was returned
	told     bool // that all are lost
}

// news is what a member said that Next has not seen yet, and how it is.
type news struct {
	services []*Service
	fresh    bool  // services are not merged yet
	known    bool  // there were services once
	lost     error // nil while there is contact, and before anything is known
}

// Watch implements [Reader].
func (m *Multi) Watch(ctx context.Context) (Watcher, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	following, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &multiWatcher{
		multi:  m,
		cancel: cancel,
		closed: make(chan struct{}),
		wake:   make(chan struct{}, 1),
		news:   make([]news, len(m.members)),
		merged: newMerge(m.members),
	}
	for i := range m.members {
		w.wg.Go(func() { w.follow(following, i) })
	}
	return w, nil
}

// Next implements [Watcher].
func (w *multiWatcher) Next(ctx context.Context) ([]*Service, error) {
	late := w.late()
	for {
		select {
		case <-w.closed:
			return nil, ErrClosed
		default:
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if done, err := w.look(); done {
			return w.last, err
		}
		select {
		case <-w.wake:
		case <-late:
			w.giveUp()
		case <-ctx.Done():
		case <-w.closed:
		}
	}
}

// Close implements [Watcher].
func (w *multiWatcher) Close() error {
	w.once.Do(func() {
		close(w.closed)
		w.cancel()
		w.wg.Wait()
	})
	return nil
}

// late returns a channel that tells when members had their time. Once there was
// a result nobody waits for them, and it is nil.
func (w *multiWatcher) late() <-chan time.Time {
	if w.begun || w.told {
		return nil
	}
	if w.deadline.IsZero() {
		w.deadline = time.Now().Add(memberWait)
	}
	return time.After(time.Until(w.deadline))
}

// look takes in the news, and says whether Next is to return: w.last, or the
// error.
func (w *multiWatcher) look() (done bool, err error) {
	known, waiting, lost := w.take()
	if waiting {
		return false, nil
	}
	services := w.merged.services()
	switch {
	case known && (!w.begun || !slices.Equal(services, w.last)): // something new
	case lost != nil && !w.told:
		w.told = true
		return true, lost
	case lost == nil && w.told: // contact is back
	default:
		return false, nil
	}
	w.begun, w.last, w.told = true, services, false // if all are lost, that comes next
	return true, nil
}

// take merges the news. It returns whether any member ever said what it has,
// whether one has said nothing yet, and the error if contact with all is lost.
func (w *multiWatcher) take() (known, waiting bool, lost error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	known = len(w.news) == 0
	contact := known
	for i := range w.news {
		n := &w.news[i]
		if n.fresh {
			w.merged.set(i, n.services)
			n.services, n.fresh = nil, false
		}
		known = known || n.known
		contact = contact || n.lost == nil
		waiting = waiting || !n.known && n.lost == nil
	}
	if !contact {
		lost = w.multi.unavailable(0, w.news[0].lost)
	}
	return known, waiting, lost
}

// follow watches member i until ctx is done.
func (w *multiWatcher) follow(ctx context.Context, i int) {
	var retry backoff
	for ctx.Err() == nil {
		err := w.read(ctx, i, &retry)
		if ctx.Err() == nil {
			w.lose(i, err)
			retry.wait(ctx)
		}
	}
}

// read hands on what a watcher of member i says, until it is of no more use.
func (w *multiWatcher) read(ctx context.Context, i int, retry *backoff) (err error) {
	watcher, err := w.multi.members[i].Reader.Watch(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, watcher.Close()) }()
	for {
		services, err := watcher.Next(ctx)
		switch {
		case err == nil:
			w.find(i, services, !isAway(watcher))
		case errors.Is(err, ErrUnavailable) && ctx.Err() == nil:
			w.lose(i, err)
			retry.wait(ctx)
		default:
			return err
		}
	}
}

// isAway says of a watcher whether what it said last is not of its source: one of
// a [Steady] tells the snapshot before it tells that there is no contact.
func isAway(w Watcher) bool {
	steady, ok := w.(*steadyWatcher)
	return ok && !steady.contact
}

// find notes what member i says, and whether that is a sign of contact.
func (w *multiWatcher) find(i int, services []*Service, contact bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news[i] = news{services: services, fresh: true, known: true}
	if contact {
		w.multi.report(i, nil)
	}
	w.signal()
}

// lose notes that there is no contact with member i.
func (w *multiWatcher) lose(i int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news[i].lost = err
	w.multi.report(i, err)
	w.signal()
}

// giveUp stops waiting for members that have said nothing yet.
func (w *multiWatcher) giveUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.news {
		if n := &w.news[i]; !n.known && n.lost == nil {
			n.lost = errSlow
			w.multi.report(i, errSlow)
		}
	}
	w.signal()
}

// signal wakes Next; what it has not seen yet it will see then.
func (w *multiWatcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

const (
	firstWait = 100 * time.Millisecond
	lastWait  = 5 * time.Second
)

// A backoff is the time between attempts: it doubles, up to a bound, until
// there was no need to wait for a while.
type backoff struct {
	delay time.Duration
	last  time.Time
}

// wait returns after the delay or when ctx is done.
func (b *backoff) wait(ctx context.Context) {
	b.delay = min(2*b.delay, lastWait)
	if time.Since(b.last) > 2*lastWait {
		b.delay = firstWait
	}
	timer := time.NewTimer(b.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	b.last = time.Now()
}
