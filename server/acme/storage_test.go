package acme_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/server/acme"
)

// storages are those that keep the same promises.
var storages = map[string]func(*testing.T) acme.Storage{
	"disk": func(t *testing.T) acme.Storage { return acme.Disk(t.TempDir()) },
	"NATS": func(t *testing.T) acme.Storage { return openNATS(t, startNATS(t), nil) },
}

func TestStorage(t *testing.T) {
	for name, open := range storages {
		t.Run(name, func(t *testing.T) {
			s, ctx := open(t), t.Context()
			const dir = "certificates/ca.example-directory"
			keys := []string{dir + "/a.example/a.example.crt", dir + "/a.example/a.example.key", dir + "/wildcard_.b.example/b.json", "acme/users/me@example.com/me.key"}

			absent(t, s, keys[0])
			for _, k := range keys {
				store(t, s, k, "first of "+k)
				store(t, s, k, "value of "+k)
			}
			for _, k := range keys {
				b, err := s.Load(ctx, k)
				if err != nil || string(b) != "value of "+k {
					t.Errorf("Load(%s) = %q, %v; want what was stored last", k, b, err)
				}
				if !s.Exists(ctx, k) {
					t.Errorf("Exists(%s) = false", k)
				}
				info, err := s.Stat(ctx, k)
				if err != nil || info.Size != int64(len(b)) || !info.IsTerminal || time.Since(info.Modified) > time.Hour {
					t.Errorf("Stat(%s) = %+v, %v", k, info, err)
				}
			}
			if info, err := s.Stat(ctx, dir); err != nil || info.IsTerminal || !s.Exists(ctx, dir) {
				t.Errorf("Stat(%s) = %+v, %v; want what is above keys", dir, info, err)
			}
			listed(t, s, dir, false, dir+"/a.example", dir+"/wildcard_.b.example")
			listed(t, s, dir+"/a.example", true, keys[0], keys[1])
			absent(t, s, dir+"/a.exam") // the beginning of a part is none

			for _, k := range []string{keys[0], keys[0], dir, dir} { // what is gone may be deleted
				if err := s.Delete(ctx, k); err != nil {
					t.Errorf("Delete(%s) = %v", k, err)
				}
				absent(t, s, k)
			}
			absent(t, s, keys[2])
			if !s.Exists(ctx, keys[3]) {
				t.Errorf("%s is gone with what was deleted", keys[3])
			}
		})
	}
}

func TestLocks(t *testing.T) {
	for name, open := range storages {
		t.Run(name, func(t *testing.T) {
			s, ctx := open(t), t.Context()
			if err := s.Lock(ctx, "issue_cert_a.example"); err != nil {
				t.Fatal(err)
			}
			if err := s.Lock(ctx, "issue_cert_b.example"); err != nil { // another one
				t.Fatal(err)
			}
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			if err := s.Lock(short, "issue_cert_a.example"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Lock of what is locked = %v, want DeadlineExceeded", err)
			}
			got := make(chan error, 1)
			go func() { got <- s.Lock(ctx, "issue_cert_a.example") }()
			select {
			case err := <-got:
				t.Fatalf("Lock = %v before Unlock", err)
			case <-time.After(50 * time.Millisecond):
			}
			unlock(t, s, "issue_cert_a.example")
			if err := <-got; err != nil {
				t.Errorf("Lock after Unlock = %v", err)
			}
			unlock(t, s, "issue_cert_a.example")
			unlock(t, s, "issue_cert_b.example")
		})
	}
}

// TestLocksOfMany counts who is under a lock.
func TestLocksOfMany(t *testing.T) {
	addr := startNATS(t)
	var mu sync.Mutex
	within, rounds := 0, 0
	var wg sync.WaitGroup
	for range 3 {
		s := openNATS(t, addr, nil)
		wg.Go(func() {
			for range 2 {
				if err := s.Lock(t.Context(), "one"); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if within++; within > 1 {
					t.Error("two are under the lock")
				}
				rounds++
				mu.Unlock()
				mu.Lock()
				within--
				mu.Unlock()
				unlock(t, s, "one")
			}
		})
	}
	wg.Wait()
	if rounds != 6 {
		t.Errorf("%d were under the lock, want 6", rounds)
	}
}

// TestLockOfOneWhoDied has a gateway end without unlocking.
func TestLockOfOneWhoDied(t *testing.T) {
	server := startNATS(t)
	conn, err := server.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := openNATS(t, server, nil)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "goapi-certificates")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Create(t.Context(), "locks.one", []byte("locked"), jetstream.KeyTTL(time.Second)); err != nil { // as it is left
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Lock(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the lock was free after %s, want a second or two", took)
	}
	if err := kv.Purge(t.Context(), "locks.one"); err != nil { // it is lost
		t.Fatal(err)
	}
	unlock(t, s, "one")
}

func TestBucketThatCannotBeUsed(t *testing.T) {
	server := startNATS(t)
	conn, err := server.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	for name, conf := range map[string]jetstream.KeyValueConfig{
		"keys that do not expire": {Bucket: "one"},
		"keys that all expire":    {Bucket: "two", TTL: time.Hour, LimitMarkerTTL: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := js.CreateKeyValue(t.Context(), conf); err != nil {
				t.Fatal(err)
			}
			if _, err := acme.NATS(t.Context(), conn, &acme.NATSOptions{Bucket: conf.Bucket}); err == nil || !strings.Contains(err.Error(), "name another") {
				t.Errorf("NATS = %v, want an error that says what to do", err)
			}
		})
	}
	if _, err := acme.NATS(t.Context(), conn, &acme.NATSOptions{Replicas: 3}); err == nil {
		t.Error("NATS with three replicas on one server = nil, want an error")
	}
	conn.Close()
	if _, err := acme.NATS(t.Context(), conn, nil); err == nil {
		t.Error("NATS on a connection that is closed = nil, want an error")
	}
}

func startNATS(t *testing.T) *nats.Server {
	t.Helper()
	s, err := nats.Start(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func openNATS(t *testing.T, s *nats.Server, opts *acme.NATSOptions) acme.Storage {
	t.Helper()
	conn, err := s.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	storage, err := acme.NATS(t.Context(), conn, opts)
	if err != nil {
		t.Fatal(err)
	}
	return storage
}

func store(t *testing.T, s acme.Storage, key, value string) {
	t.Helper()
	if err := s.Store(t.Context(), key, []byte(value)); err != nil {
		t.Errorf("Store(%s) = %v", key, err)
	}
}

func absent(t *testing.T, s acme.Storage, key string) {
	t.Helper()
	if _, err := s.Load(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load(%s) = %v, want ErrNotExist", key, err)
	}
	if _, err := s.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat(%s) = %v, want ErrNotExist", key, err)
	}
	if _, err := s.List(t.Context(), key, true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List(%s) = %v, want ErrNotExist", key, err)
	}
	if s.Exists(t.Context(), key) {
		t.Errorf("Exists(%s) = true", key)
	}
}

func listed(t *testing.T, s acme.Storage, dir string, recursive bool, want ...string) {
	t.Helper()
	got, err := s.List(t.Context(), dir, recursive)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("List(%s, %t) = %v, %v; want %v", dir, recursive, got, err, want)
	}
}

func unlock(t *testing.T, s acme.Storage, name string) {
	t.Helper()
	if err := s.Unlock(t.Context(), name); err != nil {
		t.Errorf("Unlock(%s) = %v", name, err)
	}
}
