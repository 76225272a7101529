package file

import (
	"github.com/goapi-dev/goapi/registry"
)

// A state is the services of the last good edit.
type state struct {
	records registry.Records
	held    map[string]*registry.Service // by the keys of records
}

// set makes the entries of an edit the state. No two have the same key.
func (s *state) set(entries []entry) {
	if s.held == nil {
		s.held = make(map[string]*registry.Service, len(entries))
	}
	for _, e := range entries {
		if key := e.key(); s.held[key] != e.service { // what was not read again is there
			_ = s.records.Set(key, e.service) // a file has fewer
			s.held[key] = e.service
		}
	}
	if len(s.held) == len(entries) {
		return
	}
	keys := make(map[string]bool, len(entries))
	for _, e := range entries {
		keys[e.key()] = true
	}
	for key := range s.held {
		if !keys[key] {
			s.records.Delete(key)
			delete(s.held, key)
		}
	}
}

// take makes the entries of an edit the state, and wakes the watchers.
func (r *Registry) take(entries []entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leftOut = nil
	r.state.set(entries)
	close(r.changed)
	r.changed = make(chan struct{})
}

// refuse notes what is wrong with the file; the state stays.
func (r *Registry) refuse(m *mistake) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leftOut = []registry.Omission{{Key: m.place(), Reason: m.reason}}
}

// services returns the state, and a channel that is closed when it changes.
func (r *Registry) services() ([]*registry.Service, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.records.Services(), r.changed
}
