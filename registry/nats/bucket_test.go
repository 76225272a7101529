package nats_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	conns "github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/nats"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

func TestOpenErrors(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	js := jetStream(t, s)
	for name, cfg := range map[string]jetstream.KeyValueConfig{
		"plain":   {},
		"history": {History: 5, LimitMarkerTTL: time.Minute},
		"single":  {LimitMarkerTTL: time.Minute},
		"aged":    {LimitMarkerTTL: time.Minute, TTL: time.Hour},
	} {
		cfg.Bucket = name
		if _, err := js.CreateKeyValue(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "KV_full", Subjects: []string{"$KV.full.>"}, MaxMsgsPerSubject: 1, MaxMsgs: 100, Discard: jetstream.DiscardOld,
		AllowMsgTTL: true, AllowRollup: true, SubjectDeleteMarkerTTL: time.Minute,
	}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		url  string
		want []string
	}{
		{"embedded:?bucket=plain", []string{`"plain"`, "its keys cannot expire", "no limit marker TTL, want 1m0s"}},
		{"embedded:?bucket=history", []string{`"history"`, "its history is 5, want 1"}},
		{"embedded:?bucket=aged", []string{`"aged"`, "it drops every record after 1h0m0s, want no max age"}},
		{"embedded:?bucket=full", []string{`"full"`, "it drops old records when it is full"}},
		{"embedded:?bucket=single&replicas=3", []string{`"single"`, "it has 1 replicas, want 3"}},
		{"embedded:?replicas=3", []string{"without a cluster cannot hold 3 replicas"}},
		{"embedded:?replicas=0", []string{`replicas "0" is not a number from 1 to 5`}},
		{"embedded:?replicas=many", []string{`replicas "many" is not a number`}},
		{"embedded:?bucket=a.b", []string{`bucket "a.b" is not made of letters, digits, - and _`}},
		{"embedded:?bucket=", []string{`bucket "" is not made of`}},
		{"embedded:?prefix=a", []string{`unknown parameter "prefix"; known: bucket, replicas`}},
		{"redis://h", []string{`unknown scheme "redis"; known: embedded, nats, tls`}},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			r, err := tryOpen(t.Context(), tt.url, s)
			if err == nil {
				r.Close()
				t.Fatal("Open() error = nil")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Open() error = %v, want %q", err, want)
				}
			}
			if errors.Is(err, registry.ErrUnavailable) {
				t.Errorf("Open() error = %v, which says that another attempt may help", err)
			}
		})
	}
}

func TestOpenUsesWhatIsThere(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	cfg := jetstream.KeyValueConfig{Bucket: "theirs", LimitMarkerTTL: time.Hour, Storage: jetstream.MemoryStorage}
	if _, err := jetStream(t, s).CreateKeyValue(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	r := open(t, "embedded:?bucket=theirs&replicas=1", s)
	registrytest.Register(t, r, registrytest.Greeter("1"), 0)
	registrytest.Watch(t, r).Await("a node", registrytest.HasNodes("1"))
}

// TestOpenAtOnce: of many who find no bucket, all get the same one.
func TestOpenAtOnce(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	w := registrytest.Watch(t, open(t, "embedded:?bucket=other", s))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r, err := tryOpen(t.Context(), "embedded:", s)
			if err != nil {
				t.Errorf("Open() error = %v", err)
				return
			}
			defer r.Close()
			if err := r.Register(t.Context(), registrytest.Greeter(fmt.Sprint(i)), 0); err != nil {
				t.Errorf("Register() error = %v", err)
			}
		})
	}
	wg.Wait()
	registrytest.Watch(t, open(t, "embedded:", s)).Await("the nodes of all", registrytest.HasNodes("0", "1", "2", "3", "4", "5", "6", "7"))
	w.Await("nothing in another bucket", registrytest.HasNodes())
}

// TestRecordsOnTheWire: other clients of the bucket read what they expect.
func TestRecordsOnTheWire(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	r := open(t, "embedded:", s)
	stream, err := jetStream(t, s).Stream(t.Context(), "KV_goapi_registry")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		ttl  time.Duration
		want string
	}{
		{0, ""},
		{time.Millisecond, "1"},
		{time.Second, "1"},
		{30 * time.Second, "30"},
		{30*time.Second + 1, "31"},
		{1<<63 - 1, "9223372037"},
	}
	for _, tt := range tests {
		t.Run(tt.ttl.String(), func(t *testing.T) {
			registrytest.Register(t, r, registrytest.Greeter("1"), tt.ttl)
			m, err := stream.GetLastMsgForSubject(t.Context(), "$KV.goapi_registry.greeter.1")
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Header.Get("Nats-TTL"); got != tt.want {
				t.Errorf("Nats-TTL = %q, want %q", got, tt.want)
			}
			const want = `{"name":"greeter","version":"latest","metadata":null,"endpoints":null,` +
				`"nodes":[{"id":"1","address":"127.0.0.1:9090","metadata":null}]}`
			if got := string(m.Data); got != want {
				t.Errorf("the record = %s, want %s", got, want)
			}
		})
	}
	if err := r.Deregister(t.Context(), registrytest.Greeter("1")); err != nil {
		t.Fatalf("Deregister() error = %v", err)
	}
	m, err := stream.GetLastMsgForSubject(t.Context(), "$KV.goapi_registry.greeter.1")
	if err != nil {
		t.Fatal(err)
	}
	if op, ttl := m.Header.Get("KV-Operation"), m.Header.Get("Nats-TTL"); op != "PURGE" || ttl != "60" || len(m.Data) > 0 {
		t.Errorf("what is left of a record: operation %q, TTL %q, data %q, want PURGE, 60 and none", op, ttl, m.Data)
	}
}

func TestRegisterTooLarge(t *testing.T) {
	s := start(t, t.TempDir(), &conns.ServerOptions{MaxPayload: 4096})
	r := open(t, "embedded:", s)
	large := registrytest.Greeter("1", "2")
	large.Nodes[1].Metadata = map[string]string{"fat": strings.Repeat("x", 5000)}
	err := r.Register(t.Context(), large, 0)
	if !errors.Is(err, registry.ErrTooLarge) {
		t.Fatalf("Register() error = %v, want ErrTooLarge", err)
	}
	for _, want := range []string{`"greeter"`, `node "2"`, "bytes", "3968"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Register() error = %v, want %q in it", err, want)
		}
	}
	if _, err := r.Get(t.Context(), "greeter"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("Get() after it error = %v, want ErrNotFound: nothing of it is there", err)
	}
}

// TestRegisterTooLargeForTheBucket: a bucket may take less than the server.
func TestRegisterTooLargeForTheBucket(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	cfg := jetstream.KeyValueConfig{Bucket: "small", LimitMarkerTTL: time.Minute, MaxValueSize: 1024}
	if _, err := jetStream(t, s).CreateKeyValue(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	large := registrytest.Greeter("1")
	large.Metadata = map[string]string{"fat": strings.Repeat("x", 2000)}
	if err := open(t, "embedded:?bucket=small", s).Register(t.Context(), large, 0); !errors.Is(err, registry.ErrTooLarge) {
		t.Errorf("Register() error = %v, want ErrTooLarge", err)
	}
}

// TestBadRecordsAreLeftOut: what others write hurts nobody else, and is
// reported once for as long as it is bad.
func TestBadRecordsAreLeftOut(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	said := make(lines, 64)
	u := &url.URL{Scheme: "embedded"}
	r, err := nats.Open(t.Context(), u, &nats.Options{
		Conns:  &conns.Conns{Embedded: s},
		Logger: slog.New(slog.NewTextHandler(said, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	js := jetStream(t, s)
	put := func(key, value string) {
		t.Helper()
		if _, err := js.Publish(t.Context(), "$KV.goapi_registry."+key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	w := registrytest.Watch(t, r)
	registrytest.Register(t, r, registrytest.Greeter("1"), 0)
	put("bad.1", "{")
	put("bad.1", "[")
	put("greeter.1b", `{"name":"greeter","nodes":[{"id":"1","address":"127.0.0.1:9091"}]}`)
	put("greeter.2", `{"name":"evil","nodes":[{"id":"e","address":"127.0.0.1:1"}]}`)
	put("greeter.of.3", `{"name":"greeter","nodes":[{"id":"3","address":"127.0.0.1:1"}]}`)
	put("other.1", `{"name":"other","nodes":[{"id":"o","address":"127.0.0.1:1"}]}`)
	w.Await("what is a service", registrytest.HasNodes("1", "o"))
	wantLeftOut(t, r, "bad.1  ", "greeter.1 greeter 1", "greeter.2 evil ", "greeter.of.3 greeter ")
	put("bad.1", `{"name":"bad","nodes":[{"id":"b","address":"127.0.0.1:1"}]}`)
	w.Await("one that is a service now", registrytest.HasNodes("1", "b", "o"))
	wantLeftOut(t, r, "greeter.1 greeter 1", "greeter.2 evil ", "greeter.of.3 greeter ")
	put("bad.1", "null")
	w.Await("it to be gone", registrytest.HasNodes("1", "o"))
	put("greeter.2", `{"name":"greeter","nodes":[{"id":"2","address":"127.0.0.1:1"}]}`)
	w.Await("one that is of its key's service now", registrytest.HasNodes("1", "2", "o"))
	wantLeftOut(t, r, "bad.1  ", "greeter.1 greeter 1", "greeter.of.3 greeter ")
	if got := len(said); got != 5 {
		t.Errorf("there are %d lines in the log, want 5", got)
	}
	for i := range len(said) {
		want := []string{
			"record=bad.1 ", "record=greeter.1 service=greeter node=1 ", "record=greeter.2 ", "record=greeter.of.3 ", "record=bad.1 ",
		}[i]
		if got := <-said; !strings.Contains(got, want) {
			t.Errorf("line %d of the log is %q, want %q in it", i, got, want)
		}
	}
	if _, err := js.Publish(t.Context(), "$KV.goapi_registry.bad.2", []byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLeftOut(t, r, "bad.1  ", "bad.2  ", "greeter.1 greeter 1", "greeter.of.3 greeter ")
	if got, err := r.Get(t.Context(), "greeter"); err != nil || !registrytest.HasNodes("1", "2")(got) {
		t.Errorf("Get(greeter) = %v, %v, want nodes 1 and 2 only", got, err)
	}
}

// wantLeftOut wants omissions with these keys, services and nodes.
func wantLeftOut(t *testing.T, r registry.Reporter, want ...string) {
	t.Helper()
	var got []string
	for _, o := range r.LeftOut() {
		got = append(got, o.Key+" "+o.Service+" "+o.Node)
		if o.Reason == "" || o.Registry != "" {
			t.Errorf("LeftOut() holds %+v, want a reason and no registry", o)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("LeftOut() = %q, want %q", got, want)
	}
}

// lines is an io.Writer of lines that a test reads.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// jetStream returns what others use the server with.
func jetStream(t testing.TB, s *conns.Server) jetstream.JetStream {
	t.Helper()
	nc, err := s.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}
