package file

import (
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/goapi-dev/goapi/internal/files"
)

// restat is how often the file is looked at when nothing tells of changes:
// notifications may be lost, and some file systems have none.
const restat = 2 * time.Second

// watch watches the file.
func (r *Registry) watch() *files.Watcher {
	w, err := files.Watch(r.path)
	if err != nil {
		r.log.Warn("registry file cannot be watched: it is looked at every two seconds", slog.Any("reason", err))
	}
	return w
}

// concerns says whether an event is about the file itself, or what it is a link to.
func (r *Registry) concerns(e fsnotify.Event) bool {
	if e.Name == r.path {
		return true
	}
	to, err := filepath.EvalSymlinks(r.path)
	return err == nil && e.Name == to
}

// follow looks at the file when something happens to it.
func (r *Registry) follow(w *files.Watcher) {
	defer close(r.ended)
	defer w.Close()
	ticker := time.NewTicker(restat)
	defer ticker.Stop()
	for {
		anyway := false
		select {
		case <-r.life.Done():
			return
		case e := <-w.Events():
			anyway = r.concerns(e)
		case err := <-w.Lost():
			r.log.Debug("registry file is looked at: events were lost", slog.Any("reason", err))
			anyway = true
		case <-ticker.C:
		}
		w.Refresh(r.path)
		if err := r.look(r.life, anyway); err != nil {
			return // the registry is closed
		}
	}
}
