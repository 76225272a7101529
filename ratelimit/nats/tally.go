package nats

import "sync"

const (
	// tallies is how many a limiter has, so that requests do not wait for each
	// other.
	tallies = 16
	// maxTally is how many keys a tally holds. What passes for more between two
	// messages is not told.
	maxTally = 512
)

// tally counts what has passed for some of the keys since the last message.
type tally struct {
	mu    sync.Mutex
	n     map[keyID]uint32
	spare map[keyID]uint32 // what n was before, emptied
	lost  int
}

// add counts one.
func (t *tally) add(key keyID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = make(map[keyID]uint32)
	}
	if n, known := t.n[key]; known || len(t.n) < maxTally {
		t.n[key] = n + 1
		return
	}
	t.lost++
}

// drain hands out what was counted, and begins anew. It returns how many were
// lost.
func (t *tally) drain(each func(keyID, uint32)) (lost int) {
	t.mu.Lock()
	full := t.n
	lost, t.lost = t.lost, 0
	if len(full) == 0 {
		t.mu.Unlock()
		return lost
	}
	t.n, t.spare = t.spare, nil
	t.mu.Unlock()
	for key, n := range full {
		each(key, n)
	}
	clear(full)
	t.mu.Lock()
	t.spare = full
	t.mu.Unlock()
	return lost
}
