package etcd_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// smallRequests is how a server refuses what others take.
func smallRequests(cfg *embed.Config) { cfg.MaxRequestBytes = 64 << 10 }

// largeRequests is how a server takes what others refuse.
func largeRequests(cfg *embed.Config) { cfg.MaxRequestBytes = 64 << 20 }

// TestRecordsOnTheWire: go-micro finds what it expects, where it expects it.
func TestRecordsOnTheWire(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	r := open(t, "etcd://"+s.addr)
	svc := service("go.micro.srv/greeter", 1)
	svc.Nodes[0].ID = "a/b/c"
	svc.Nodes = append(svc.Nodes, &registry.Node{ID: "d", Address: "[::1]:1"})
	registrytest.Register(t, r, svc, 90*time.Second)
	for i, key := range []string{"/micro/registry/go.micro.srv-greeter/a-b-c", "/micro/registry/go.micro.srv-greeter/d"} {
		kv := s.key(key)
		if kv == nil {
			t.Fatalf("there is no key %q", key)
		}
		var got microService
		decoder := json.NewDecoder(bytes.NewReader(kv.GetValue()))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&got); err != nil {
			t.Fatalf("the value of %q is not as go-micro has it: %v", key, err)
		}
		want := *svc
		want.Nodes = svc.Nodes[i : i+1]
		gotJSON, wantJSON := marshal(t, got), marshal(t, want)
		if gotJSON != wantJSON {
			t.Errorf("go-micro reads\n%s, want\n%s", gotJSON, wantJSON)
		}
		lease, err := s.etcd.Server.LeaseTimeToLive(t.Context(), &pb.LeaseTimeToLiveRequest{ID: kv.GetLease()})
		if err != nil || lease.GetGrantedTTL() != 90 {
			t.Errorf("the lease of %q lives for %d s, %v, want 90 s", key, lease.GetGrantedTTL(), err)
		}
	}
}

// microService, microNode, microEndpoint and microValue have the fields that
// go-micro reads.
type (
	microService struct {
		Name      string            `json:"name"`
		Version   string            `json:"version"`
		Metadata  map[string]string `json:"metadata"`
		Endpoints []*microEndpoint  `json:"endpoints"`
		Nodes     []*microNode      `json:"nodes"`
	}
	microNode struct {
		ID       string            `json:"id"`
		Address  string            `json:"address"`
		Metadata map[string]string `json:"metadata"`
	}
	microEndpoint struct {
		Name     string            `json:"name"`
		Request  *microValue       `json:"request"`
		Response *microValue       `json:"response"`
		Metadata map[string]string `json:"metadata"`
	}
	microValue struct {
		Name   string        `json:"name"`
		Type   string        `json:"type"`
		Values []*microValue `json:"values"`
	}
)

// TestRecordsOfGoMicro: what services of go-micro wrote is read.
func TestRecordsOfGoMicro(t *testing.T) {
	t.Parallel()
	tests := []struct {
		file  string
		name  string
		nodes []string // id, address, protocol
		at    []string // names of endpoints
	}{
		{"v6-all-keys.json", "greeter", []string{"greeter-6b117bc1-6f49-4369-b092-6bc44590e9e7"}, []string{"Echo.Call", "Greeter.Hello"}},
		{"v6-all-keys.json", "micro.http.broker", []string{
			"greeter.event-f06cb898-b27a-4122-a785-405c4ab85c79", "greeter.hello-f06cb898-b27a-4122-a785-405c4ab85c79",
		}, nil},
		{"etcd-greeter1.json", "greeter1", nil, []string{"Echo.Call", "Greeter.Hello"}},
		{"etcd-greeter2.json", "greeter2", nil, []string{"Echo.Call", "Greeter.Hello"}},
		{"etcd-greeter2grpc.json", "greeter2grpc", nil, []string{"Echo.Call", "Greeter.Hello"}},
		{"etcd-httpbroker.json", "go.micro.http.broker", []string{
			"greeter.event-a78863ef-8a53-4a57-959a-b334bf3c5f0c", "greeter.hello-a78863ef-8a53-4a57-959a-b334bf3c5f0c",
			"greeter1-a78863ef-8a53-4a57-959a-b334bf3c5f0c",
		}, nil},
		{"v10.json", "greeter0", []string{"greeter0-1"}, []string{"Say.Hello"}},
	}
	s := start(t, nil)
	for _, file := range []string{
		"v6-all-keys.json", "etcd-greeter1.json", "etcd-greeter2.json", "etcd-greeter2grpc.json", "etcd-httpbroker.json", "v10.json",
	} {
		s.load(file)
	}
	r := open(t, "etcd://"+s.addr)
	listed, err := r.List(t.Context())
	if err != nil || len(r.LeftOut()) > 0 {
		t.Fatalf("List() error = %v; left out: %v", err, r.LeftOut())
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := r.Get(t.Context(), tt.name)
			if err != nil || len(got) != 1 {
				t.Fatalf("Get() = %d services, %v, want one", len(got), err)
			}
			if tt.nodes != nil && !registrytest.HasNodes(tt.nodes...)(got) {
				t.Errorf("Get() = %s, want the nodes %q", marshal(t, got), tt.nodes)
			}
			for _, n := range got[0].Nodes {
				if host, port, ok := strings.Cut(n.Address, ":"); !ok || host == "" || port == "" {
					t.Errorf("the address of %s = %q, want host:port", n.ID, n.Address)
				}
			}
			for _, name := range tt.at {
				if !slices.ContainsFunc(got[0].Endpoints, func(e *registry.Endpoint) bool { return e.Name == name }) {
					t.Errorf("there is no endpoint %s in %s", name, marshal(t, got))
				}
			}
			if !slices.ContainsFunc(listed, func(s *registry.Service) bool { return marshal(t, s) == marshal(t, got[0]) }) {
				t.Errorf("List() lacks %s", marshal(t, got[0]))
			}
			if got, want := marshal(t, got[0]), s.values(tt.name); len(want) == 1 && got != want[0] {
				t.Errorf("Get() =\n%s, want what is there:\n%s", got, want[0])
			}
		})
	}
}

// load puts what a capture holds: the answer to a range over all keys, or
// values, one a line.
func (s *server) load(file string) {
	s.t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		s.t.Fatal(err)
	}
	var all struct {
		KVs []struct{ Key, Value []byte }
	}
	if err := json.Unmarshal(data, &all); err == nil && all.KVs != nil {
		for _, kv := range all.KVs {
			s.put(string(kv.Key), kv.Value)
		}
		return
	}
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		var svc microService
		if err := json.Unmarshal(line, &svc); err != nil {
			s.t.Fatalf("%s: %v", file, err)
		}
		s.put("/micro/registry/"+svc.Name+"/"+svc.Nodes[0].ID, line)
	}
}

// values returns the values of a service, as our JSON has them.
func (s *server) values(name string) []string {
	s.t.Helper()
	prefix := "/micro/registry/" + name + "/"
	answer, err := s.etcd.Server.Range(s.t.Context(), &pb.RangeRequest{Key: []byte(prefix), RangeEnd: []byte(prefix[:len(prefix)-1] + "0")})
	if err != nil {
		s.t.Fatalf("Range(%q) error = %v", prefix, err)
	}
	values := make([]string, 0, len(answer.GetKvs()))
	for _, kv := range answer.GetKvs() {
		var svc microService
		if err := json.Unmarshal(kv.GetValue(), &svc); err != nil {
			s.t.Fatalf("the value of %s: %v", kv.GetKey(), err)
		}
		if svc.Nodes[0].Address == "10.0.0.1" {
			svc.Nodes[0].Address += ":8080" // its port is a field of its own
		}
		values = append(values, marshal(s.t, svc))
	}
	return values
}

// TestHostileRecords: what cannot be read is left out and told of, once, and
// harms no other.
func TestHostileRecords(t *testing.T) {
	t.Parallel()
	s := start(t, largeRequests)
	var said bytes.Buffer
	r, err := tryOpen(t.Context(), "etcd://"+s.addr, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w := registrytest.Watch(t, r)
	w.Await("the empty state", registrytest.HasNodes())
	good := marshal(t, registrytest.Greeter("1"))
	large := func(n int) []byte {
		svc := registrytest.Greeter("1")
		svc.Metadata = map[string]string{"large": strings.Repeat("x", n)}
		return []byte(marshal(t, svc))
	}
	long := "/micro/registry/x/" + strings.Repeat("k", 2000)
	records := []struct {
		key, reason string
		value       []byte
	}{
		{"/micro/registry/a/empty", "JSON", nil},
		{"/micro/registry/a/huge", "too large to be read", large(9 << 20)},
		{"/micro/registry/a/large", "more than 1048576", large(1 << 20)},
		{"/micro/registry/a/none", "name: a service needs a name", []byte("null")},
		{"/micro/registry/a/text", "invalid character", []byte("hello")},
		{"/micro/registry/a/\xff\x00", "invalid character", []byte{0xff}},
		{"/micro/registry/a/deep", "max depth", bytes.Repeat([]byte("["), 1<<18)},
		{"/micro/registry/a/wrong", "nodes[0].id: it cannot be a JSON number", []byte(`{"name":"a","nodes":[{"id":1}]}`)},
		{"/micro/registry/b/1", `it says that it is of the service "greeter"`, []byte(good)},
		{long, "its key is 2018 bytes long", []byte(good)},
	}
	for _, rec := range records {
		s.put(rec.key, rec.value)
	}
	s.put(greeterKey, []byte(good))
	w.Await("the one that can be read", registrytest.HasNodes("1"))
	check := func(when string) {
		t.Helper()
		left := r.LeftOut()
		if len(left) != len(records) || !slices.IsSortedFunc(left, func(a, b registry.Omission) int { return strings.Compare(a.Key, b.Key) }) {
			t.Fatalf("%s: LeftOut() = %+v, want %d in order", when, left, len(records))
		}
		for _, rec := range records {
			i := slices.IndexFunc(left, func(o registry.Omission) bool { return strings.HasPrefix(rec.key, strings.TrimSuffix(o.Key, "…")) })
			if i < 0 || !strings.Contains(left[i].Reason, rec.reason) {
				t.Errorf("%s: LeftOut() = %+v, want %.40q: %s", when, left, rec.key, rec.reason)
			}
		}
	}
	check("watched")
	if _, err := r.List(t.Context()); err != nil {
		t.Fatalf("List() error = %v", err)
	}
	check("listed")
	r.Close()
	if got := strings.Count(said.String(), "registry record left out"); got != len(records) {
		t.Errorf("the log tells of %d records, want %d:\n%.4000s", got, len(records), said.String())
	}
}

// TestRecordGetsBetter: a record that was left out and is replaced is there,
// and the other way about.
func TestRecordGetsBetter(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	r := open(t, "etcd://"+s.addr)
	w := registrytest.Watch(t, r)
	w.Await("the empty state", registrytest.HasNodes())
	for range 2 {
		s.put(greeterKey, []byte(marshal(t, registrytest.Greeter("1"))))
		w.Await("the node", registrytest.HasNodes("1"))
		if left := r.LeftOut(); len(left) > 0 {
			t.Errorf("LeftOut() = %v, want none", left)
		}
		s.put(greeterKey, bytes.Repeat([]byte(" "), 1<<20+1))
		w.Await("no node", registrytest.HasNodes())
		if left := r.LeftOut(); len(left) != 1 {
			t.Errorf("LeftOut() = %v, want one", left)
		}
	}
}

// TestManyLargeRecords: together they are longer than an answer may be, and
// those between them are found.
func TestManyLargeRecords(t *testing.T) {
	t.Parallel()
	s := start(t, largeRequests)
	const many = 6
	var ids []string
	for i := range many {
		ids = append(ids, fmt.Sprint(i))
		s.put(fmt.Sprintf("/micro/registry/greeter/%d", i), []byte(marshal(t, registrytest.Greeter(ids[i]))))
		s.put(fmt.Sprintf("/micro/registry/greeter/%d-large", i), bytes.Repeat([]byte("x"), 2<<20))
	}
	r := open(t, "etcd://"+s.addr)
	if got, err := r.Get(t.Context(), "greeter"); err != nil || !registrytest.HasNodes(ids...)(got) {
		t.Errorf("Get() = %s, %v, want %d nodes", marshal(t, got), err, many)
	}
	registrytest.Watch(t, r).Await("all nodes", registrytest.HasNodes(ids...))
	if got := len(r.LeftOut()); got != many {
		t.Errorf("%d records are left out, want %d", got, many)
	}
}

// TestPrefix: other keys are not looked at.
func TestPrefix(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	for i, prefix := range []string{"/micro/registry", "/micro/registryother", "/a/b/", "/micro"} {
		r := open(t, "etcd://"+s.addr+"?prefix="+prefix)
		id := fmt.Sprint(i)
		registrytest.Register(t, r, registrytest.Greeter(id), 0)
		got, err := r.List(t.Context())
		if err != nil || !registrytest.HasNodes(id)(got) { // "registry" is no service, below /micro
			t.Errorf("List() with prefix %s = %s, %v", prefix, marshal(t, got), err)
		}
	}
	registrytest.Watch(t, open(t, "etcd://"+s.addr)).Await("the nodes below the prefix", registrytest.HasNodes("0"))
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
