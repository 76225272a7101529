package file

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// restat is how often the file is looked at when nothing tells of changes:
// notifications may be lost, and some file systems have none.
const restat = 2 * time.Second

// dirs watches the directories where a change of the file shows: its own, and
// that of the file it is a link to.
type dirs struct {
	path    string
	watcher *fsnotify.Watcher      // nil where the system has none to give
	watched map[string]fs.FileInfo // by name, as they were
}

// newDirs watches the directories of the file.
func (r *Registry) newDirs() *dirs {
	d := &dirs{path: r.path, watched: make(map[string]fs.FileInfo)}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		r.log.Warn("registry file cannot be watched: it is looked at every two seconds", slog.Any("reason", err))
		return d
	}
	d.watcher = w
	d.refresh()
	return d
}

func (d *dirs) close() {
	if d.watcher != nil {
		_ = d.watcher.Close() // nothing is left to do
	}
}

// files returns the file, and what it is a link to.
func (d *dirs) files() []string {
	files := []string{d.path}
	if to, err := filepath.EvalSymlinks(d.path); err == nil && to != d.path {
		files = append(files, to)
	}
	return files
}

// refresh watches the directories as they are now: links lead elsewhere, and
// directories are replaced.
func (d *dirs) refresh() {
	if d.watcher == nil {
		return
	}
	wanted := make(map[string]bool)
	for _, file := range d.files() {
		wanted[filepath.Dir(file)] = true
	}
	for dir, info := range d.watched {
		now, err := os.Stat(dir)
		if err == nil && wanted[dir] && os.SameFile(now, info) {
			continue
		}
		_ = d.watcher.Remove(dir) // fails when the directory is gone, and its watch with it
		delete(d.watched, dir)
	}
	for dir := range wanted {
		if d.watched[dir] != nil {
			continue
		}
		info, err := os.Stat(dir)
		if err == nil && d.watcher.Add(dir) == nil { // else it is tried again
			d.watched[dir] = info
		}
	}
}

// events returns what the system tells; nil when it tells nothing.
func (d *dirs) events() (<-chan fsnotify.Event, <-chan error) {
	if d.watcher == nil {
		return nil, nil
	}
	return d.watcher.Events, d.watcher.Errors
}

// concerns says whether an event is about the file itself.
func (d *dirs) concerns(e fsnotify.Event) bool { return slices.Contains(d.files(), e.Name) }

// follow looks at the file when something happens to it.
func (r *Registry) follow(d *dirs) {
	defer close(r.ended)
	defer d.close()
	events, errs := d.events()
	ticker := time.NewTicker(restat)
	defer ticker.Stop()
	for {
		anyway := false
		select {
		case <-r.life.Done():
			return
		case e := <-events:
			anyway = d.concerns(e)
		case err := <-errs: // events were lost
			r.log.Debug("registry file is looked at: events were lost", slog.Any("reason", err))
			anyway = true
		case <-ticker.C:
		}
		d.refresh()
		if err := r.look(r.life, anyway); err != nil {
			return // the registry is closed
		}
	}
}
