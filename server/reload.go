package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/goapi-dev/goapi/internal/files"
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
	paths := c.paths()
	w, err := files.Watch(paths...)
	if err != nil {
		c.opts.Logger.Warn("certificates cannot be watched: they are looked at every minute", slog.Any("reason", err))
	}
	defer w.Close()
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
		case <-w.Events():
			f.settled.Reset(settle)
		case err := <-w.Lost():
			f.log.Warn("certificates may have changed unseen", slog.Any("error", err))
			f.settled.Reset(settle)
		case <-f.settled.C:
			w.Refresh(paths...)
			f.read()
		case <-look.C:
			w.Refresh(paths...)
			f.read()
		case <-remind.C:
			c.remind()
		}
	}
}

// paths returns those of the files.
func (c *Certificates) paths() []string {
	var paths []string
	for _, p := range c.opts.Pairs {
		paths = append(paths, p.Cert, p.Key)
	}
	if c.opts.ClientCA != "" {
		paths = append(paths, c.opts.ClientCA)
	}
	return paths
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
