package nats

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

// report notes what a state lacks, and logs what no state before it lacked.
func (r *Registry) report(list []registry.Omission) {
	type place struct{ key, service, node string }
	r.leftOut.mu.Lock()
	defer r.leftOut.mu.Unlock()
	known := make(map[place]bool, len(r.leftOut.list))
	for _, o := range r.leftOut.list {
		known[place{o.Key, o.Service, o.Node}] = true
	}
	r.leftOut.list = list
	for _, o := range list {
		if known[place{o.Key, o.Service, o.Node}] {
			continue
		}
		attrs := []any{slog.String("bucket", r.bucket.name), slog.String("record", o.Key)}
		if o.Node != "" {
			attrs = append(attrs, slog.String("service", o.Service), slog.String("node", o.Node))
		}
		r.log.Warn("registry record left out", append(attrs, slog.String("reason", o.Reason))...)
	}
}
