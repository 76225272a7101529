package handler

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// smallBody is what a body may hold without room for it, and is allocated on
	// the word of its length.
	smallBody = 64 << 10
	// defaultRoom is what larger ones may hold together, and roomTime how long one
	// waits for its share.
	defaultRoom = 24 << 20
	roomTime    = 5 * time.Second
)

// Bodies is room for the bodies of requests that are held whole, beyond 64 KiB of
// each. A body that finds none waits in turn, while its client is not read, and is
// refused after 5 s (503 with Retry-After). One that is larger than all of the
// room has it for itself. Several handlers may have one.
type Bodies struct {
	room int64

	mu    sync.Mutex
	free  int64
	turns []*turn
}

// turn is somebody who waits for room.
type turn struct {
	size int64
	come chan struct{} // closed when it has the room
}

// NewBodies returns room for so many bytes.
func NewBodies(room int64) *Bodies { return &Bodies{room: room, free: room} }

// orDefault returns b, or else room of its own.
func (b *Bodies) orDefault() *Bodies {
	if b == nil {
		return NewBodies(defaultRoom)
	}
	return b
}

// share is what a body of that size takes.
func (b *Bodies) share(size int64) int64 { return min(size, b.room) }

// take waits for room for so many bytes.
func (b *Bodies) take(ctx context.Context, size int64) error {
	t := b.queue(size)
	if t == nil {
		return nil
	}
	timer := time.NewTimer(roomTime)
	defer timer.Stop()
	var err error
	select {
	case <-t.come:
		return nil
	case <-ctx.Done():
		err = clientGone(ctx.Err())
	case <-timer.C:
		err = unavailable("the gateway holds as many large bodies as it takes", nil)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.turns, t)
	if i < 0 { // it has come this instant
		b.free += size
	} else {
		b.turns = slices.Delete(b.turns, i, i+1)
	}
	b.next()
	return err
}

// queue takes room, or else returns the turn to wait for.
func (b *Bodies) queue(size int64) *turn {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.turns) == 0 && size <= b.free {
		b.free -= size
		return nil
	}
	t := &turn{size: size, come: make(chan struct{})}
	b.turns = append(b.turns, t)
	return t
}

// give gives room back.
func (b *Bodies) give(size int64) {
	if size == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += size
	b.next()
}

// next gives room to those whose turn it is. The caller holds b.mu.
func (b *Bodies) next() {
	for len(b.turns) > 0 && b.turns[0].size <= b.free {
		b.free -= b.turns[0].size
		close(b.turns[0].come)
		b.turns = slices.Delete(b.turns, 0, 1)
	}
}
