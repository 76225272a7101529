package micro

import (
	"cmp"
	"log/slog"
	"slices"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// maxLeftOut bounds how many things that are left out are kept.
	maxLeftOut = 1000
	// memory is for how many rounds something is told of that is not heard
	// again.
	memory = 24
)

// leftOut is what others say that is wrong. The registry's mu guards it.
type leftOut struct {
	rounds map[registry.Omission]int // in which each was last heard
	list   []registry.Omission       // in order; nil when it is to be made
	fresh  []registry.Omission       // that were not logged yet
}

// leaveOut notes something that is left out.
func (l *leftOut) leaveOut(o registry.Omission, round int) {
	if l.rounds == nil {
		l.rounds = make(map[registry.Omission]int)
	}
	if _, known := l.rounds[o]; !known {
		if len(l.rounds) >= maxLeftOut {
			return
		}
		l.list = nil
		l.fresh = append(l.fresh, o)
	}
	l.rounds[o] = round
}

// age forgets what was not heard for long.
func (l *leftOut) age(round int) {
	for o, last := range l.rounds {
		if last <= round-memory {
			delete(l.rounds, o)
			l.list = nil
		}
	}
}

// LeftOut implements [registry.Reporter]. The key is the subject of the message.
// What is not said again is told of for 24 intervals.
func (r *Registry) LeftOut() []registry.Omission {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := &r.found.leftOut
	if l.list == nil && len(l.rounds) > 0 {
		for o := range l.rounds {
			l.list = append(l.list, o)
		}
		slices.SortFunc(l.list, func(a, b registry.Omission) int {
			return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Reason, b.Reason))
		})
	}
	return l.list
}

// report logs what was left out since it was last called. The caller holds mu.
func (r *Registry) report() {
	for _, o := range r.found.fresh {
		r.log.Warn("registry record left out", slog.String("subject", o.Key),
			slog.String("service", o.Service), slog.String("node", o.Node), slog.String("reason", o.Reason))
	}
	r.found.fresh = nil
}
