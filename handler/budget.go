package handler

import "sync/atomic"

// defaultBodies is what bodies may hold together.
const defaultBodies = 32 << 20

// A Budget is bytes that requests may hold together, beyond the little that each
// may: what finds no room is refused (503 with Retry-After). Several handlers may
// have one. A nil Budget has no end.
type Budget struct{ free atomic.Int64 }

// NewBudget returns a budget of so many bytes.
func NewBudget(n int64) *Budget {
	b := new(Budget)
	b.free.Store(n)
	return b
}

// orDefault returns b, or a budget for bodies if it is nil.
func (b *Budget) orDefault() *Budget {
	if b == nil {
		return NewBudget(defaultBodies)
	}
	return b
}

// take takes n bytes, if there are as many.
func (b *Budget) take(n int64) bool {
	if b == nil || b.free.Add(-n) >= 0 {
		return true
	}
	b.free.Add(n)
	return false
}

// give gives n bytes back.
func (b *Budget) give(n int64) {
	if b != nil {
		b.free.Add(n)
	}
}
