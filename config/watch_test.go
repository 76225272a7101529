package config_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/config"
)

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
	return dir, config.NewWatcher(f)
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
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Next error = %v, want that nothing changed", err)
	}
}

func TestWatcher(t *testing.T) {
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
				dir, w := watched(t)
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
	w := config.NewWatcher(f)
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
	write(t, dir, "later.txt", "")
	next(t, w)
	if _, err := w.Load(noEnv); err != nil {
		t.Fatalf("Load error = %v, want none any more", err)
	}
	calm(t, w)
}
