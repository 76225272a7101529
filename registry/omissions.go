package registry

import (
	"log/slog"
	"sync"
	"time"
)

// Omissions are what the state lacks that was read last, for registries that are
// a [Reporter]. The zero value is none. They may be used concurrently.
type Omissions struct {
	mu     sync.Mutex
	list   []Omission
	minute time.Time // when the first was logged of those that count
	logged int       // since then
}

// maxOmissionsLogged bounds how many are logged in a minute: whoever writes bad
// records writes no logs.
const maxOmissionsLogged = 60

// List returns what was told last. It is shared: read-only.
func (o *Omissions) List() []Omission {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.list
}

// Tell takes what a state lacks, which is read-only from then on, and logs what
// the one before did not lack.
func (o *Omissions) Tell(log *slog.Logger, list []Omission) {
	type place struct{ key, service, node string }
	o.mu.Lock()
	defer o.mu.Unlock()
	known := make(map[place]bool, len(o.list))
	for _, old := range o.list {
		known[place{old.Key, old.Service, old.Node}] = true
	}
	o.list = list
	for _, now := range list {
		if known[place{now.Key, now.Service, now.Node}] || !o.mayLog(log) {
			continue
		}
		attrs := []any{slog.String("record", now.Key)}
		if now.Node != "" {
			attrs = append(attrs, slog.String("service", now.Service), slog.String("node", now.Node))
		}
		log.Warn("registry record left out", append(attrs, slog.String("reason", now.Reason))...)
	}
}

// mayLog counts what is logged, and says once a minute that more is not.
func (o *Omissions) mayLog(log *slog.Logger) bool {
	if now := time.Now(); now.Sub(o.minute) > time.Minute {
		o.minute, o.logged = now, 0
	}
	o.logged++
	if o.logged == maxOmissionsLogged+1 {
		log.Warn("more registry records are left out than are logged; see the list of routes")
	}
	return o.logged <= maxOmissionsLogged
}
