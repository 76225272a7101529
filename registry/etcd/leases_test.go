package etcd_test

import (
	"errors"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

const greeterKey = "/micro/registry/greeter/1"

// TestRenewal: what is there as it should be is not written again, and lives
// on the lease that it had.
func TestRenewal(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	r := open(t, "etcd://"+s.addr)
	for _, ttl := range []time.Duration{time.Minute, 0} {
		registrytest.Register(t, r, registrytest.Greeter("1"), ttl)
		first := s.key(greeterKey)
		w := registrytest.Watch(t, r)
		w.Await("a node", registrytest.HasNodes("1"))
		for range 3 {
			registrytest.Register(t, r, registrytest.Greeter("1"), ttl)
		}
		if again := s.key(greeterKey); again.GetModRevision() != first.GetModRevision() || again.GetLease() != first.GetLease() {
			t.Errorf("the record after renewals with a TTL of %v = %v, want %v", ttl, again, first)
		}
		w.WantNothing(20 * time.Millisecond)
		if got, want := s.leases(), min(int(ttl), 1); got != want {
			t.Errorf("with a TTL of %v there are %d leases, want %d", ttl, got, want)
		}
	}
}

// TestLeases: each change leaves one lease for a node that has a TTL, and none
// for others.
func TestLeases(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	r := open(t, "etcd://"+s.addr)
	other := registrytest.Greeter("1")
	other.Nodes[0].Address = "127.0.0.1:1"
	steps := []struct {
		name   string
		do     func()
		leases int
		same   bool // the lease of the step before
	}{
		{"registered", func() { registrytest.Register(t, r, registrytest.Greeter("1"), time.Minute) }, 1, false},
		{"changed", func() { registrytest.Register(t, r, other, time.Minute) }, 1, true},
		{"with another TTL", func() { registrytest.Register(t, r, other, time.Hour) }, 1, false},
		{"overwritten by somebody", func() {
			s.put(greeterKey, []byte("{}"))
			registrytest.Register(t, r, other, time.Hour)
		}, 1, true},
		{"removed by somebody", func() {
			s.remove(greeterKey)
			registrytest.Register(t, r, other, time.Hour)
		}, 1, true},
		{"forgotten", func() {
			s.revoke(s.key(greeterKey).GetLease())
			registrytest.Register(t, r, other, time.Hour)
		}, 1, false},
		{"without a TTL", func() { registrytest.Register(t, r, other, 0) }, 0, false},
		{"with a TTL", func() { registrytest.Register(t, r, other, time.Second+1) }, 1, false},
	}
	lease := int64(-1)
	for _, step := range steps {
		step.do()
		now := s.key(greeterKey).GetLease()
		if got := s.leases(); got != step.leases || (now != 0) != (got != 0) {
			t.Errorf("%s: there are %d leases, want %d; the record has %d", step.name, got, step.leases, now)
		}
		if (now == lease) != step.same {
			t.Errorf("%s: the lease is %d after %d, want it to be the same: %t", step.name, now, lease, step.same)
		}
		lease = now
		if got, err := r.Get(t.Context(), "greeter"); err != nil || !registrytest.HasNodes("1")(got) {
			t.Errorf("%s: Get() = %v, %v, want the node", step.name, got, err)
		}
	}
	deregister(t, r, other)
	if got := s.leases(); got != 0 {
		t.Errorf("after Deregister there are %d leases, want none", got)
	}
}

// TestLeaseOfARefusedRecord: no lease is left by what etcd does not take.
func TestLeaseOfARefusedRecord(t *testing.T) {
	t.Parallel()
	s := start(t, smallRequests)
	r := open(t, "etcd://"+s.addr)
	fat := registrytest.Greeter("1")
	fat.Metadata = map[string]string{"fat": string(make([]byte, 100<<10))} // each byte is six in JSON
	if err := r.Register(t.Context(), fat, time.Minute); !errors.Is(err, registry.ErrTooLarge) {
		t.Errorf("Register() of what the server refuses error = %v, want ErrTooLarge", err)
	}
	if got := s.leases(); got != 0 {
		t.Errorf("there are %d leases, want none", got)
	}
}

// TestTwoAnnounceOneNode: whoever comes last has the key, and the first does not
// take it away.
func TestTwoAnnounceOneNode(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	one, two := open(t, "etcd://"+s.addr), open(t, "etcd://"+s.addr)
	registrytest.Register(t, one, registrytest.Greeter("1"), time.Second)
	registrytest.Register(t, two, registrytest.Greeter("1"), time.Minute)
	lease := s.key(greeterKey).GetLease()
	w := registrytest.Watch(t, two)
	w.Await("the node", registrytest.HasNodes("1"))
	registrytest.Register(t, two, registrytest.Greeter("2"), time.Second) // expires no sooner than the lease of the first
	w.Await("both nodes", registrytest.HasNodes("1", "2"))
	w.Await("one node", registrytest.HasNodes("1"))
	if now := s.key(greeterKey).GetLease(); now != lease {
		t.Errorf("the lease of the node = %d, want that of the second who announced it, %d", now, lease)
	}
}

func TestDeregisterOfWhatCannotBe(t *testing.T) {
	t.Parallel()
	r := open(t, "etcd://"+start(t, nil).addr)
	for _, svc := range []*registry.Service{
		{},
		{Nodes: []*registry.Node{{ID: "1"}}},
		{Name: "greeter", Nodes: []*registry.Node{nil, {}}},
		{Name: string(make([]byte, 10_000)), Nodes: []*registry.Node{{ID: "1"}}},
	} {
		if err := r.Deregister(t.Context(), svc); err != nil {
			t.Errorf("Deregister(%.20q…) error = %v", svc.Name, err)
		}
	}
}

// key returns the record of a key, or nil.
func (s *server) key(key string) *mvccpb.KeyValue {
	s.t.Helper()
	answer, err := s.etcd.Server.Range(s.t.Context(), &pb.RangeRequest{Key: []byte(key)})
	if err != nil {
		s.t.Fatalf("Range(%q) error = %v", key, err)
	}
	for _, kv := range answer.GetKvs() {
		return kv
	}
	return nil
}

func (s *server) remove(key string) {
	s.t.Helper()
	if _, err := s.etcd.Server.DeleteRange(s.t.Context(), &pb.DeleteRangeRequest{Key: []byte(key)}); err != nil {
		s.t.Fatalf("DeleteRange(%q) error = %v", key, err)
	}
}

func (s *server) revoke(lease int64) {
	s.t.Helper()
	if _, err := s.etcd.Server.LeaseRevoke(s.t.Context(), &pb.LeaseRevokeRequest{ID: lease}); err != nil {
		s.t.Fatalf("LeaseRevoke(%d) error = %v", lease, err)
	}
}
