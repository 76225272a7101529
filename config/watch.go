package config

import (
	"context"
	"crypto/sha256"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/goapi-dev/goapi/internal/files"
)

const (
	// look is how often files are looked at when nothing tells of changes:
	// notifications may be lost, and some file systems have none.
	look = 2 * time.Second
	// quiet is how long files are the same before they count as changed: editors
	// and programs write in steps, and half a file may be right and say less.
	quiet = time.Second
	// doubt is quiet for a file that has lost a whole section.
	doubt = 3 * time.Second
)

// A Watcher tells when a configuration has changed: the file, or one that it
// names, be it edited, replaced, or reached by a link that leads elsewhere. It is
// level-triggered, by what the files hold: what happens between two calls of Next
// is not lost, and a file that is as it was did not change. What is written in steps
// changes when it has been the same for a second, and, where a section of the
// configuration is gone, such as patterns, for three: the rest of it may be on its
// way. It is used by one goroutine at a time.
type Watcher struct {
	name string
	path string // of the file, from the root
	seen inputs
	had  []string // the sections of the last version that was right

	quiet, doubt time.Duration
}

// NewWatcher returns a watcher of the files that f was made of, as they were
// then.
func NewWatcher(f *File) *Watcher {
	path, _ := filepath.Abs(f.name) // Load has done it
	return &Watcher{name: f.name, path: path, seen: maps.Clone(f.inputs), had: f.sections(), quiet: quiet, doubt: doubt}
}

// Load reads the configuration again, as the function Load does, and follows the
// files that it is made of from then on: also when it is wrong, so that Next
// returns once what was missing is there.
func (w *Watcher) Load(env func(string) (string, bool)) (*File, error) {
	f, in, err := load(w.name, env)
	w.seen = in
	if err == nil && !f.Empty() {
		w.had = f.sections()
	}
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

// settle returns what the files hold once they have stayed the same.
func (w *Watcher) settle(ctx context.Context) (inputs, error) {
	now := w.digests()
	since, calm := time.Now(), w.calm()
	for !maps.Equal(now, w.seen) && time.Since(since) < calm {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(w.quiet / 20):
		}
		if next := w.digests(); !maps.Equal(next, now) {
			now, since, calm = next, time.Now(), w.calm()
		}
	}
	return now, nil
}

// calm returns how long the files have to be the same before they are taken.
func (w *Watcher) calm() time.Duration {
	text, err := readFile(w.path)
	if err != nil {
		return w.quiet // nothing is taken over
	}
	has := sectionsOf(text)
	if slices.ContainsFunc(w.had, func(key string) bool { return !slices.Contains(has, key) }) {
		return w.doubt
	}
	return w.quiet
}

// sections returns the keys of the file without which it would say less of who may
// pass, or where to.
func (f *File) sections() []string {
	return slices.DeleteFunc(sections(), func(key string) bool {
		_, ok := f.places[key]
		return !ok
	})
}

func sections() []string { return []string{"identity", "policy", "patterns", "services", "routes"} }

// sectionsOf returns those of a text.
func sectionsOf(text []byte) []string {
	root, mistake := tree(text)
	if mistake != nil || root == nil || root.Kind != yaml.MappingNode {
		return nil
	}
	var has []string
	for i := 0; i < len(root.Content); i += 2 {
		has = append(has, root.Content[i].Value)
	}
	return has
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
