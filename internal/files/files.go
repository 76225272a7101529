// Package files tells that something happens where files are: that they are
// edited, replaced, or reached by links that lead elsewhere.
package files

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// A Watcher watches the directories where changes of files show: their own, and
// those of the files that they are links to. What it tells is a reason to look, no
// more: events can be lost, some file systems have none, and others are about
// files beside. So whoever waits looks now and then in any case. A nil Watcher
// watches nothing. It is used by one goroutine at a time.
type Watcher struct {
	system *fsnotify.Watcher
	dirs   map[string]fs.FileInfo // that are watched, by name, as they were
}

// Watch watches files, which need not be there. The error is that the system has
// no watcher to give, which comes with a nil one. The caller closes it.
func Watch(paths ...string) (*Watcher, error) {
	system, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &Watcher{system: system, dirs: make(map[string]fs.FileInfo)}
	w.Refresh(paths...)
	return w, nil
}

// Refresh watches the directories of files as they are now: links lead elsewhere,
// directories are replaced, and there may be other files. It is to be called after
// each event, before the files are looked at.
func (w *Watcher) Refresh(paths ...string) {
	if w == nil {
		return
	}
	wanted := make(map[string]bool)
	for _, path := range paths {
		wanted[filepath.Dir(path)] = true
		if to, err := filepath.EvalSymlinks(path); err == nil {
			wanted[filepath.Dir(to)] = true
		}
	}
	for dir, info := range w.dirs {
		now, err := os.Stat(dir)
		if err == nil && wanted[dir] && os.SameFile(now, info) {
			continue
		}
		_ = w.system.Remove(dir) // fails when the directory is gone, and its watch with it
		delete(w.dirs, dir)
	}
	for dir := range wanted {
		if w.dirs[dir] != nil {
			continue
		}
		info, err := os.Stat(dir)
		if err == nil && w.system.Add(dir) == nil { // else it is tried again
			w.dirs[dir] = info
		}
	}
}

// Events returns what happens in the directories.
func (w *Watcher) Events() <-chan fsnotify.Event {
	if w == nil {
		return nil
	}
	return w.system.Events
}

// Lost returns that events were lost, and why.
func (w *Watcher) Lost() <-chan error {
	if w == nil {
		return nil
	}
	return w.system.Errors
}

// Close ends the watch.
func (w *Watcher) Close() {
	if w != nil {
		_ = w.system.Close() // nothing is left to do
	}
}
