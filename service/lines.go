package service

import (
	"context"
	"sync"
)

// lines are the streams that are open: a server does not know of them itself.
// The zero value is none.
type lines struct {
	mu       sync.Mutex
	open     map[*line]struct{}
	stopping bool
	none     chan struct{} // closed when none is open any more; nil unless waited for
}

func (ls *lines) add(l *line) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.open == nil {
		ls.open = make(map[*line]struct{})
	}
	ls.open[l] = struct{}{}
	if ls.stopping {
		l.cancel(errStopping)
	}
}

func (ls *lines) remove(l *line) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.open, l)
	if len(ls.open) == 0 && ls.none != nil {
		close(ls.none)
		ls.none = nil
	}
}

// stop tells all streams to end, and those that open until wait returns.
func (ls *lines) stop() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.stopping = true
	for l := range ls.open {
		l.cancel(errStopping)
	}
}

// wait returns when all streams have ended. When ctx is done before, it returns
// an error. It cuts off those that are left.
func (ls *lines) wait(ctx context.Context) error {
	defer ls.cutOff()
	select {
	case <-ls.ended():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ended returns a channel that is closed when no stream is open.
func (ls *lines) ended() <-chan struct{} {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	none := make(chan struct{})
	if len(ls.open) == 0 {
		close(none)
	} else {
		ls.none = none
	}
	return none
}

func (ls *lines) cutOff() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.stopping, ls.none = false, nil
	for l := range ls.open {
		_ = l.conn.Close() // says nothing
	}
}
