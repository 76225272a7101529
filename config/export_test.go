package config

import "time"

// Hurry shortens the times that files are the same before they are taken.
func (w *Watcher) Hurry(quiet, doubt time.Duration) { w.quiet, w.doubt = quiet, doubt }
