package config

import (
	"context"
	"crypto/sha256"
	"maps"
	"slices"
	"time"

	"github.com/goapi-dev/goapi/internal/files"
)

const (
	// look is how often files are looked at when nothing tells of changes:
	// notifications may be lost, and some file systems have none.
	look = 2 * time.Second
	// quiet is how long files are the same before they count as changed: editors
	// and programs write in steps.
	quiet = 20 * time.Millisecond
	// patience bounds the wait for that.
	patience = 2 * time.Second
)

// A Watcher tells when a configuration has changed: the file, or one that it
// names, be it edited, replaced, or reached by a link that leads elsewhere. It is
// level-triggered, by what the files hold: what happens between two calls of Next
// is not lost, and a file that is as it was did not change. It is used by one
// goroutine at a time.
type Watcher struct {
	name string
	seen inputs
}

// NewWatcher returns a watcher of the files that f was made of, as they were
// then.
func NewWatcher(f *File) *Watcher {
	return &Watcher{name: f.name, seen: maps.Clone(f.inputs)}
}

// Load reads the configuration again, as the function Load does, and follows the
// files that it is made of from then on: also when it is wrong, so that Next
// returns once what was missing is there.
func (w *Watcher) Load(env func(string) (string, bool)) (*File, error) {
	f, in, err := load(w.name, env)
	w.seen = in
	return f, err
}

// Next returns when a file holds another thing than it did when Next last
// returned, or f was read. It returns the error of ctx when that is done.
func (w *Watcher) Next(ctx context.Context) error {
	d, err := files.Watch(w.paths()...)
	if err != nil {
		d = nil // the ticker is left
	}
	defer d.Close()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		now, err := w.settle(ctx)
		if err != nil {
			return err
		}
		if !maps.Equal(now, w.seen) {
			w.seen = now
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.Events():
		case <-d.Lost(): //nolint:errcheck // all files are looked at
		case <-ticker.C:
		}
		d.Refresh(w.paths()...)
	}
}

// settle returns what the files hold once they stay the same, if that is soon.
func (w *Watcher) settle(ctx context.Context) (inputs, error) {
	now := w.digests()
	if maps.Equal(now, w.seen) {
		return now, nil
	}
	begun := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(quiet):
		}
		next := w.digests()
		if maps.Equal(next, now) || time.Since(begun) > patience {
			return next, nil
		}
		now = next
	}
}

// paths returns those of the files, in no order.
func (w *Watcher) paths() []string { return slices.Collect(maps.Keys(w.seen)) }

// digests returns what the files hold now.
func (w *Watcher) digests() inputs {
	now := make(inputs, len(w.seen))
	for path := range w.seen {
		b, err := readFile(path)
		if err != nil {
			now[path] = digest{}
			continue
		}
		now[path] = sha256.Sum256(b)
	}
	return now
}
