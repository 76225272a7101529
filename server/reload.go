package server

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long nothing must change until files are read: who replaces a
	// certificate writes its key, too.
	settle = 200 * time.Millisecond
	// look is how often files are read that nobody said to have changed: some
	// file systems do not tell.
	look = time.Minute
	// remind is how often the log says which certificates end soon.
	remind = 24 * time.Hour
)

// Run reads the files again when they change, until ctx is done. What makes no
// sense is logged. It returns nil then.
func (c *Certificates) Run(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("server: watch certificates: %w", err)
	}
	defer w.Close()
	for dir := range c.dirs() {
		if err := w.Add(dir); err != nil {
			return fmt.Errorf("server: watch certificates in %s: %w", dir, err)
		}
	}
	f := follower{c: c, log: c.opts.Logger}
	f.read() // they may have changed before they were watched
	f.settled = time.NewTimer(settle)
	f.settled.Stop()
	defer f.settled.Stop()
	look, remind := time.NewTicker(look), time.NewTicker(remind)
	defer look.Stop()
	defer remind.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Events:
			f.settled.Reset(settle)
		case err := <-w.Errors:
			f.log.Warn("certificates may have changed unseen", slog.Any("error", err))
			f.settled.Reset(settle)
		case <-f.settled.C:
			f.read()
		case <-look.C:
			f.read()
		case <-remind.C:
			c.remind()
		}
	}
}

// dirs returns where the files are: a file that is replaced is another one, and a
// link that is changed is in its own directory.
func (c *Certificates) dirs() map[string]struct{} {
	dirs := make(map[string]struct{})
	for _, p := range c.opts.Pairs {
		dirs[filepath.Dir(p.Cert)] = struct{}{}
		dirs[filepath.Dir(p.Key)] = struct{}{}
	}
	if c.opts.ClientCA != "" {
		dirs[filepath.Dir(c.opts.ClientCA)] = struct{}{}
	}
	return dirs
}

// follower reads files, and says only once what is wrong with them.
type follower struct {
	c       *Certificates
	log     *slog.Logger
	settled *time.Timer
	wrong   string
}

func (f *follower) read() {
	err := f.c.Reload()
	if err == nil {
		f.wrong = ""
		return
	}
	if err.Error() != f.wrong {
		f.wrong = err.Error()
		f.log.Error("certificates not read: what was read before is used on", slog.Any("error", err))
	}
}

// remind warns of certificates that end soon.
func (c *Certificates) remind() {
	for _, e := range c.Expiries() {
		if time.Until(e.Until) < soon {
			c.opts.Logger.Warn("certificate ends soon", slog.String("file", e.File), slog.Time("until", e.Until))
		}
	}
}
