package consul

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// A watcher follows the services of an agent. Its polls run from the first Next
// to Close; the rest of the work is done within Next.
type watcher struct {
	registry *Registry
	life     context.Context // until the watcher or the registry is closed
	end      context.CancelFunc
	hints    *hints

	mu      sync.Mutex // held by Next, and by Close for the rest
	feed    *feed      // nil without contact
	lost    bool       // the loss of contact was returned
	retry   backoff
	resume  time.Time // not before then is the agent asked again
	catalog catalog
	touched map[string]struct{} // names that are to be read
	recent  []string            // names that changed, the last one first
	guess   bool                // the bell has rung, and not said for whom
	sweep   sweep

	leftOut []registry.Omission // that was reported
	begun   bool
	last    []*registry.Service
}

func newWatcher(r *Registry) *watcher {
	w := &watcher{registry: r, touched: make(map[string]struct{}), hints: &hints{told: make(chan struct{}, 1)}}
	w.life, w.end = context.WithCancel(r.life)
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
			w.connect(ctx)
			continue
		}
		if w.feed.complete() {
			if err := w.read(ctx); err != nil {
				return nil, w.reason(err)
			}
			if w.feed == nil {
				continue
			}
			if w.changed() {
				return w.last, nil
			}
		}
		if err := w.wait(ctx); err != nil {
			return nil, w.reason(err)
		}
	}
}

// Close implements [registry.Watcher].
func (w *watcher) Close() error {
	w.end()
	w.registry.mu.Lock()
	delete(w.registry.watchers, w)
	w.registry.mu.Unlock()
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

// connect starts a feed, after a wait if the last one failed.
func (w *watcher) connect(ctx context.Context) {
	sleep(ctx, time.Until(w.resume))
	if ctx.Err() == nil {
		w.feed = w.registry.newFeed()
	}
}

// reason returns why Next fails with err: what happens to a source that is being
// closed says nothing of it.
func (w *watcher) reason(err error) error {
	if w.life.Err() != nil {
		return registry.ErrClosed
	}
	return err
}

// changed says whether there is a state to return, now that nothing is left to
// read: one that was not returned yet, or the first since contact was lost.
func (w *watcher) changed() bool {
	back := w.lost
	w.lost = false
	w.retry.reset()
	services := w.catalog.records.Services()
	w.report()
	if w.begun && !back && slices.Equal(services, w.last) {
		return false
	}
	w.begun, w.last = true, services
	return true
}

// report tells the registry what a complete state lacks.
func (w *watcher) report() {
	if list := w.catalog.omissions(); !w.begun || !slices.Equal(list, w.leftOut) {
		w.leftOut = list
		w.registry.leftOut.Tell(w.registry.log, list)
	}
}

// wait waits for something to happen, and notes what is to be read.
func (w *watcher) wait(ctx context.Context) error {
	timer := time.NewTimer(w.sweep.after())
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case a := <-w.feed.answers:
		if a.err != nil {
			return w.fail(a.err)
		}
		w.take(a)
	case <-w.hints.told:
		for _, name := range w.hints.take() {
			w.touch(name)
		}
	case <-timer.C:
		for _, name := range w.sweep.step(&w.catalog) {
			w.touch(name)
		}
	}
	return nil
}

// take notes what an answer finds to have changed.
func (w *watcher) take(a answer) {
	before := w.feed.views[a.poll]
	started := w.feed.complete()
	w.feed.views[a.poll] = a.view
	switch {
	case !w.feed.complete():
		return
	case !started, a.reset:
		w.sweep, w.guess = sweep{}, false
		w.touchAll()
		return
	}
	said := false
	a.view.diff(before, func(t thing) {
		said = true
		w.touchThing(t)
	})
	switch a.poll {
	case pollBell:
		put(w.feed.checks.later)
		w.guess = w.guess || !said
		for _, name := range w.recent { // what changes goes on to change
			w.touch(name)
		}
	case pollNames:
		w.sweep.expect(a.index, len(w.catalog.known))
	}
}

// touch notes that a service is to be read.
func (w *watcher) touch(name string) {
	if _, ok := w.feed.views[pollNames][name]; !ok && !readable(name) {
		w.catalog.forget(name)
		return
	}
	if name != ownService {
		w.touched[name] = struct{}{}
	}
}

// touchThing notes what a thing concerns.
func (w *watcher) touchThing(t thing) {
	if t.service != "" {
		w.touch(t.service)
		return
	}
	for name, k := range w.catalog.known { // a check of Consul's node
		if slices.Contains(k.nodes, t.node) {
			w.touch(name)
		}
	}
}

// touchAll notes that all services are to be read, those that are gone, too.
func (w *watcher) touchAll() {
	for name := range w.feed.views[pollNames] {
		w.touch(name)
	}
	for name := range w.catalog.known {
		w.touch(name)
	}
}

// read reads what was touched. After an error it returns the first since there
// was a state, or nil: then there is no feed.
func (w *watcher) read(ctx context.Context) error {
	defer w.look()
	if len(w.touched) == 0 {
		return nil
	}
	names := slices.Collect(maps.Keys(w.touched))
	err := w.registry.read(ctx, names, &w.catalog, func(name string, news bool) {
		delete(w.touched, name)
		w.guess = w.guess && !news
		if news && w.begun {
			w.remember(name)
		}
	})
	if err == nil {
		return nil
	}
	if err := w.usable(ctx); err != nil {
		return err
	}
	return w.fail(err)
}

// look has all checks looked at, if what the bell rang for was not found.
func (w *watcher) look() {
	if !w.guess || w.feed == nil {
		return
	}
	w.guess = false
	put(w.feed.checks.now)
}

// put puts a token where one is enough.
func put(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is there
	}
}

// maxRecent bounds the services that are looked at first.
const maxRecent = 8

// remember puts a name that changed before the others.
func (w *watcher) remember(name string) {
	w.recent = slices.DeleteFunc(w.recent, func(other string) bool { return other == name })
	w.recent = slices.Insert(w.recent, 0, name)
	w.recent = w.recent[:min(len(w.recent), maxRecent)]
}

// fail ends the feed. It returns err, once for each loss of contact.
func (w *watcher) fail(err error) error {
	w.drop()
	w.resume = time.Now().Add(w.retry.next())
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

// A feed is what the polls of a watcher tell, from when contact was made to when
// it is lost.
type feed struct {
	answers chan answer
	views   [polls]view // nil for those that have not come yet
	checks  wanted      // says when to look at all of them
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// newFeed starts the polls. The caller closes the feed.
func (r *Registry) newFeed() *feed {
	f := &feed{answers: make(chan answer), checks: wanted{make(chan struct{}, 1), make(chan struct{}, 1)}}
	ctx, cancel := context.WithCancel(r.life)
	f.cancel = cancel
	for _, p := range newPolls(&f.checks) {
		f.running.Go(func() { p.run(ctx, r.agent, f.answers) })
	}
	return f
}

// complete says whether every poll has told something: whatever changes from
// then on is told, too.
func (f *feed) complete() bool {
	return !slices.ContainsFunc(f.views[:], func(v view) bool { return v == nil })
}

// close ends the polls.
func (f *feed) close() {
	f.cancel()
	f.running.Wait()
}

// hints are the names of services that this process has changed: it need not
// wait until the agent says so.
type hints struct {
	told chan struct{} // holds one token while there are any

	mu    sync.Mutex
	names []string
}

// add notes a name.
func (h *hints) add(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Contains(h.names, name) {
		h.names = append(h.names, name)
	}
	put(h.told)
}

// take returns the names, and forgets them.
func (h *hints) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	names := h.names
	h.names = nil
	return names
}
