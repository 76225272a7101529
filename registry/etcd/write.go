package etcd

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// maxTTL is the longest lease, in seconds.
	maxTTL = 9_000_000_000
	// revokeTimeout bounds what tidies up after a call.
	revokeTimeout = 2 * time.Second
)

// errNoLease says that etcd does not have a lease, or not any more.
var errNoLease = errors.New("registry: etcd has no such lease")

// Register implements [registry.Writer]. A TTL is rounded up to whole seconds;
// etcd may keep a node for longer, two seconds at least with its own settings.
func (r *Registry) Register(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if ttl < 0 {
		return &registry.FieldError{Field: "ttl", Reason: "it is negative"}
	}
	values := make([][]byte, len(s.Nodes))
	for i, n := range s.Nodes {
		one := *s
		one.Nodes = []*registry.Node{n}
		data, err := json.Marshal(&one)
		if err != nil {
			return fmt.Errorf("registry: service %q: %w", s.Name, err)
		}
		if len(data) > maxRecord {
			return fmt.Errorf("%w: service %q, node %q: %d bytes; etcd takes %d", registry.ErrTooLarge, s.Name, n.ID, len(data), maxRecord)
		}
		values[i] = data
	}
	for i, n := range s.Nodes {
		if err := r.announce(ctx, r.key(s.Name, n.ID), values[i], seconds(ttl)); err != nil {
			return err
		}
	}
	return nil
}

// Deregister implements [registry.Writer].
func (r *Registry) Deregister(ctx context.Context, s *registry.Service) error {
	for _, n := range s.Nodes {
		if n == nil || s.Name == "" || n.ID == "" || len(s.Name)+len(n.ID) > maxKey {
			continue // nobody can have registered it
		}
		if err := r.withdraw(ctx, r.key(s.Name, n.ID)); err != nil {
			return err
		}
	}
	return r.usable(ctx)
}

// announce makes sure that a key has a value, and lives for a TTL from now on;
// 0 is for ever. What is there as it should be is not written again.
func (r *Registry) announce(ctx context.Context, key string, value []byte, ttl int64) error {
	release, err := r.announced.take(ctx, key)
	if err != nil {
		return err
	}
	defer release()
	old := r.announced.get(key)
	now := record{sum: sha256.Sum256(value), ttl: ttl}
	if old.ttl == ttl && ttl > 0 {
		if now.lease, err = r.renew(ctx, old.lease); err != nil {
			return err
		}
		if now.lease == 0 {
			old = record{} // etcd has forgotten all that hung on it
		}
	}
	if old.sum == now.sum && old.ttl == ttl && old.lease == now.lease {
		if ok, err := r.holds(ctx, key, old); ok || err != nil {
			return err
		}
	}
	if ttl > 0 && now.lease == 0 {
		if now.lease, err = r.grant(ctx, ttl); err != nil {
			return err
		}
	}
	if err := r.put(ctx, key, value, now.lease); err != nil {
		if now.lease != old.lease {
			r.revoke(ctx, now.lease)
		}
		return err
	}
	r.announced.set(key, now)
	if old.lease != now.lease {
		r.revoke(ctx, old.lease) // nothing hangs on it any more
	}
	return nil
}

// withdraw removes a key, and the lease that it hung on.
func (r *Registry) withdraw(ctx context.Context, key string) error {
	release, err := r.announced.take(ctx, key)
	if err != nil {
		return err
	}
	defer release()
	err = r.call(ctx, func(ctx context.Context) error {
		_, err := r.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(key)})
		return err
	})
	if err != nil {
		return err
	}
	r.revoke(ctx, r.announced.get(key).lease)
	r.announced.forget(key)
	return nil
}

// put writes a record.
func (r *Registry) put(ctx context.Context, key string, value []byte, lease int64) error {
	err := r.call(ctx, func(ctx context.Context) error {
		_, err := r.kv.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: value, Lease: lease})
		return err
	})
	switch {
	case tooLong(err), errors.Is(err, registry.ErrTooLarge):
		return fmt.Errorf("%w: %q: %d bytes, more than %s takes", registry.ErrTooLarge, key, len(value), r.name)
	case errors.Is(err, errNoLease):
		return fmt.Errorf("%w: %s: it has forgotten a lease", registry.ErrUnavailable, r.name)
	}
	return err
}

// holds says whether a key has the record that was put.
func (r *Registry) holds(ctx context.Context, key string, put record) (ok bool, err error) {
	err = r.call(ctx, func(ctx context.Context) error {
		answer, err := r.kv.Range(ctx, &pb.RangeRequest{Key: []byte(key)})
		for _, kv := range answer.GetKvs() {
			ok = sha256.Sum256(kv.GetValue()) == put.sum && kv.GetLease() == put.lease
		}
		return err
	})
	return ok, err
}

// grant returns a new lease.
func (r *Registry) grant(ctx context.Context, ttl int64) (lease int64, err error) {
	err = r.call(ctx, func(ctx context.Context) error {
		answer, err := r.leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: ttl})
		lease = answer.GetID()
		return err
	})
	return lease, err
}

// renew begins the time of a lease anew. It returns the lease, or 0 if etcd
// has forgotten it.
func (r *Registry) renew(ctx context.Context, lease int64) (alive int64, err error) {
	err = r.call(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the stream
		stream, err := r.leases.LeaseKeepAlive(ctx)
		if err != nil {
			return err
		}
		_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: lease}) // Recv tells
		answer, err := stream.Recv()
		if answer.GetTTL() > 0 {
			alive = lease
		}
		return err
	})
	if errors.Is(err, errNoLease) {
		return 0, nil
	}
	return alive, err
}

// revoke ends a lease, unless it is 0. If that fails the lease ends by itself,
// since nobody renews it.
func (r *Registry) revoke(ctx context.Context, lease int64) {
	if lease == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	err := r.call(ctx, func(ctx context.Context) error {
		_, err := r.leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: lease})
		return err
	})
	if err != nil && !errors.Is(err, errNoLease) {
		r.log.Debug("a lease is left to expire", slog.Any("error", err))
	}
}

// announced is what this registry has put. The zero value is ready for use.
type announced struct {
	mu      sync.Mutex
	records map[string]record        // by key
	taken   map[string]chan struct{} // closed when the key is free
}

// record is what was put for a key.
type record struct {
	sum   [sha256.Size]byte // of the value
	ttl   int64
	lease int64
}

// take keeps others from a key until release is called: the lease that one put
// hangs on must not be revoked by another.
func (a *announced) take(ctx context.Context, key string) (release func(), err error) {
	for {
		a.mu.Lock()
		busy := a.taken[key]
		if busy == nil {
			break
		}
		a.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer a.mu.Unlock()
	if a.taken == nil {
		a.taken = make(map[string]chan struct{})
		a.records = make(map[string]record)
	}
	mine := make(chan struct{})
	a.taken[key] = mine
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.taken, key)
		close(mine)
	}, nil
}

// get returns the record of a key, or none.
func (a *announced) get(key string) record {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.records[key]
}

func (a *announced) set(key string, r record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.records[key] = r
}

func (a *announced) forget(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.records, key)
}
