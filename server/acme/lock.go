package acme

import (
	"context"
	"errors"
	"fmt"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// wait is how often somebody else's lock is looked at.
	wait = 500 * time.Millisecond
	// lockDir is where locks are among the keys.
	lockDir = "locks/"
)

// held is a lock that this gateway has, until release is called and over closed.
type held struct {
	release context.CancelFunc
	over    chan struct{}
	last    uint64 // revision; to be read when over is closed
}

// Lock implements [Storage]. A lock is a key that expires, and that is written
// again until Unlock.
func (b *bucket) Lock(ctx context.Context, name string) error {
	for {
		ok, err := b.TryLock(ctx, name)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// TryLock is Lock without waiting.
func (b *bucket) TryLock(ctx context.Context, name string) (bool, error) {
	key := encode(lockDir + name)
	revision, err := b.kv.Create(ctx, key, []byte("locked"), jetstream.KeyTTL(lease))
	if errors.Is(err, jetstream.ErrKeyExists) {
		return false, nil
	}
	if err != nil {
		return false, about(lockDir+name, err)
	}
	// It outlives ctx: what is done under a lock may not be over when that is.
	alive, release := context.WithCancel(context.WithoutCancel(ctx))
	h := &held{release: release, over: make(chan struct{}), last: revision}
	b.mu.Lock()
	b.locks[name] = h
	b.mu.Unlock()
	go b.keep(alive, key, h)
	return true, nil
}

// keep writes a lock again before it expires, until it is released or lost.
func (b *bucket) keep(ctx context.Context, key string, h *held) {
	defer close(h.over)
	tick := time.NewTicker(lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m := natsgo.NewMsg("$KV." + b.name + "." + key)
		m.Data = []byte("locked")
		m.Header.Set(jetstream.MsgTTLHeader, fmt.Sprint(int(lease.Seconds())))
		ack, err := b.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(h.last))
		if err == nil {
			h.last = ack.Sequence
		}
		if _, lost := errors.AsType[*jetstream.APIError](err); lost {
			return // it has expired, and may be somebody else's
		}
	}
}

// Unlock implements [Storage]. A lock that was lost is released.
func (b *bucket) Unlock(ctx context.Context, name string) error {
	b.mu.Lock()
	h := b.locks[name]
	delete(b.locks, name)
	b.mu.Unlock()
	if h == nil {
		return nil
	}
	h.release()
	<-h.over
	err := b.kv.Purge(ctx, encode(lockDir+name), jetstream.LastRevision(h.last), jetstream.PurgeTTL(time.Minute))
	if _, lost := errors.AsType[*jetstream.APIError](err); lost {
		return nil
	}
	return about(lockDir+name, err)
}
