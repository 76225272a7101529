package consul

import (
	"log/slog"
	"sync"

	"github.com/goapi-dev/goapi/registry"
)

// omissions are what the state last read lacks.
type omissions struct {
	mu   sync.Mutex
	list []registry.Omission
}

// LeftOut implements [registry.Reporter]. It tells of the last state that a
// watcher or List has read.
func (r *Registry) LeftOut() []registry.Omission {
	r.leftOut.mu.Lock()
	defer r.leftOut.mu.Unlock()
	return r.leftOut.list
}

// report notes what a state lacks, and logs what the one before had.
func (r *Registry) report(list []registry.Omission) {
	r.leftOut.mu.Lock()
	before := r.leftOut.list
	r.leftOut.list = list
	r.leftOut.mu.Unlock()

	known := make(map[registry.Omission]bool, len(before))
	for _, o := range before {
		known[o] = true
	}
	for _, o := range list {
		if known[o] {
			continue
		}
		attrs := []any{slog.String("registry", r.agent.name), slog.String("record", o.Key)}
		if o.Node != "" {
			attrs = append(attrs, slog.String("service", o.Service), slog.String("node", o.Node))
		}
		r.log.Warn("registry record left out", append(attrs, slog.String("reason", o.Reason))...)
	}
}
