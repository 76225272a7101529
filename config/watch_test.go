package config_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/middleware"
)

// Times that are short, for files that are whole before anybody waits: a busy
// machine makes nothing of it but a longer wait.
const (
	quiet = 120 * time.Millisecond
	doubt = 600 * time.Millisecond
)

// watch returns a watcher that waits less than others do.
func watch(f *config.File) *config.Watcher {
	w := config.NewWatcher(f)
	w.Hurry(quiet, doubt)
	return w
}

// watched returns a file that names another, and its watcher.
func watched(t *testing.T) (dir string, w *config.Watcher) {
	t.Helper()
	dir = t.TempDir()
	inputs(t, dir)
	write(t, dir, "goapi.yaml", "identity: {keys: {a: {file: keys.txt}}}\n")
	f, err := config.Load(filepath.Join(dir, "goapi.yaml"), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	return dir, watch(f)
}

// next fails the test when nothing changes.
func next(t *testing.T, w *config.Watcher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := w.Next(ctx); err != nil {
		t.Fatalf("Next error = %v, want that something changed", err)
	}
}

// calm fails the test when something changes.
func calm(t *testing.T, w *config.Watcher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*quiet) // more than files take to settle
	defer cancel()
	if err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Next error = %v, want that nothing changed", err)
	}
}

func TestWatcher(t *testing.T) {
	t.Parallel()
	rename := func(t *testing.T, dir, name, text string) {
		t.Helper()
		if err := os.Rename(write(t, dir, "new", text), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name    string
		change  func(t *testing.T, dir string)
		changes bool
	}{
		{"nothing", func(*testing.T, string) {}, false},
		{"an edit", func(t *testing.T, dir string) { write(t, dir, "goapi.yaml", "") }, true},
		{"a rename", func(t *testing.T, dir string) { rename(t, dir, "goapi.yaml", "# x") }, true},
		{"the same text", func(t *testing.T, dir string) {
			rename(t, dir, "goapi.yaml", "identity: {keys: {a: {file: keys.txt}}}\n")
		}, false},
		{"another file", func(t *testing.T, dir string) { write(t, dir, "other", "x") }, false},
		{"a file that it names", func(t *testing.T, dir string) { rename(t, dir, "keys.txt", "x") }, true},
		{"it goes", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "goapi.yaml")); err != nil {
				t.Fatal(err)
			}
		}, true},
	}
	for _, tt := range tests {
		for _, when := range []string{"before", "while"} {
			t.Run(tt.name+" "+when, func(t *testing.T) {
				t.Parallel()
				dir, w := watched(t)
				began := time.Now()
				if when == "before" {
					tt.change(t, dir)
				} else {
					done := make(chan struct{})
					timer := time.AfterFunc(50*time.Millisecond, func() { tt.change(t, dir); close(done) })
					defer func() {
						if !timer.Stop() {
							<-done
						}
					}()
				}
				if tt.changes {
					next(t, w)
					if took := time.Since(began); took < quiet {
						t.Errorf("Next returned after %s, want that the files are the same for %s", took, quiet)
					}
				}
				calm(t, w)
			})
		}
	}
}

// TestWatcherLinks: Kubernetes changes a link to the directory of all files.
func TestWatcherLinks(t *testing.T) {
	root := t.TempDir()
	for _, version := range []string{"1", "2"} {
		dir := filepath.Join(root, version)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, dir, "goapi.yaml", "namespace: v"+version+"\n")
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(root, "tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(root, "tmp"), filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("1", "..data")
	link("..data/goapi.yaml", "goapi.yaml")
	f, err := config.Load(filepath.Join(root, "goapi.yaml"), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	w := watch(f)
	calm(t, w)
	link("2", "..data")
	next(t, w)
	if f, err = w.Load(noEnv); err != nil || f.Namespace != "v2" {
		t.Errorf("Load = %v, %v, want the second version", f, err)
	}
}

// TestWatcherRepair: a file that is wrong because of another that is missing is
// read again once that is there.
func TestWatcherRepair(t *testing.T) {
	dir, w := watched(t)
	write(t, dir, "goapi.yaml", "identity: {keys: {a: {file: later.txt}}}\n")
	next(t, w)
	if f, err := w.Load(noEnv); err == nil {
		t.Fatalf("Load = %v, want that a file is missing", f)
	}
	calm(t, w)
	write(t, dir, "later.txt", "acme "+middleware.HashKey("k")+"\n")
	next(t, w)
	if _, err := w.Load(noEnv); err != nil {
		t.Fatalf("Load error = %v, want none any more", err)
	}
	calm(t, w)
}

// TestWatcherWaitsForTheRest: a file that is written in steps is not taken in the
// midst of it, be the part that is there right or not, and then it is.
func TestWatcherWaitsForTheRest(t *testing.T) {
	const head, tail = "routes: [{match: /**, to: [\"a:1\"]}]\n", "patterns: [{match: /admin/**, deny: [10.0.0.0/8]}]\n"
	const quiet, doubt = time.Second, 3 * time.Second
	tests := []struct {
		name  string
		first string        // what the file holds at the start
		steps []string      // what it holds later
		pause time.Duration // between them
		after time.Duration // the last of them it is taken
	}{
		{"in steps", head + tail, []string{"", head, head + tail + "# x\n"}, quiet * 9 / 10, quiet},
		{"without a section for a while", head + tail, []string{head, head + tail + "# x\n"}, doubt * 9 / 10, quiet},
		{"empty for a while", head + tail, []string{"", "# x\n", "# x\n" + head + tail}, doubt * 9 / 10, quiet},
		{"a new section in steps", head, []string{head + "pol", head + "policy:\n", head + "policy:\n  timeout: 5s\n"}, quiet * 9 / 10, quiet},
		{"without a section for good", head + tail, []string{tail, head}, quiet * 9 / 10, doubt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := write(t, t.TempDir(), "goapi.yaml", tt.first)
			synctest.Test(t, func(t *testing.T) {
				f, err := config.Load(name, noEnv)
				if err != nil {
					t.Fatal(err)
				}
				w := config.NewWatcher(f)
				put := func(text string) {
					if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
						t.Error(err)
					}
				}
				put(tt.steps[0])
				var last time.Time
				go func() { // ends with the last step
					for _, text := range tt.steps[1:] {
						time.Sleep(tt.pause)
						put(text)
						last = time.Now()
					}
				}()
				if changed, err := w.Settle(t.Context()); !changed || err != nil {
					t.Fatalf("Settle = %t, %v, want that something changed", changed, err)
				}
				synctest.Wait()
				want := tt.steps[len(tt.steps)-1]
				if took := time.Since(last); took < tt.after || took > tt.after+quiet/10 {
					t.Errorf("the file was taken %s after the last step, want %s", took, tt.after)
				}
				got, err := w.Load(noEnv)
				if err != nil || got.Empty() || len(got.Routes) != 1 {
					t.Errorf("Load = %+v, %v, want %q", got, err, want)
				}
				if changed, err := w.Settle(t.Context()); changed || err != nil {
					t.Errorf("Settle = %t, %v, want that nothing changed", changed, err)
				}
			})
		})
	}
}

func TestEmpty(t *testing.T) {
	for text, want := range map[string]bool{"": true, "# nothing\n": true, "---\n": true, "{}": false, "namespace: a": false} {
		if got := parse(t, text).Empty(); got != want {
			t.Errorf("Parse(%q).Empty() = %v, want %v", text, got, want)
		}
	}
}
