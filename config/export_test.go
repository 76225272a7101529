package config

import (
	"context"
	"maps"
	"time"
)

// Hurry shortens the times that files are the same before they are taken.
func (w *Watcher) Hurry(quiet, doubt time.Duration) { w.quiet, w.doubt = quiet, doubt }

// Settle returns once the files have stayed the same, as Next does when something
// tells it to look, and whether they hold another thing than before. It hears
// nothing of the system, so that its time may be faked.
func (w *Watcher) Settle(ctx context.Context) (changed bool, err error) {
	now, err := w.settle(ctx)
	return !maps.Equal(now, w.seen), err
}
