package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/standard"
)

func TestChanges(t *testing.T) {
	m := fakeChanges(t)
	if err := m.fill(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := m.comeAndGo(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.came) != 5 || len(m.went) != 5 {
		t.Errorf("%d came and %d went, want 5 of each", len(m.came), len(m.went))
	}
	for _, took := range append(m.came, m.went...) {
		if took <= 0 {
			t.Errorf("a change took %v", took)
		}
	}
}

func TestChangesSeeARefusal(t *testing.T) {
	m := fakeChanges(t)
	m.writer = overAdmin{&gateway{admin: m.public + "/nowhere", client: m.client}}
	if err := m.comeAndGo(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "status 503") {
		t.Errorf("comeAndGo error = %v, want the status", err)
	}
}

// TestDiscovery measures in small a store in this process, one in another, and
// one in another network.
func TestDiscovery(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"discovery", "-only", "file,etcd,mDNS", "-services", "3", "-changes", "2"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 changes beside 3 services", "\n| etcd | ", "\n| file | ", "\n| mDNS | "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("discovery = %s\nwant %q in it", out.String(), want)
		}
	}
}

// TestDiscoveryMisses: a row says what it lacks, and the others are measured.
func TestDiscoveryMisses(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"discovery", "-only", "Consul", "-consul", "/no/such/program"}, &out); err != nil {
		t.Fatal(err)
	}
	if want := "| Consul | not measured: there is no /no/such/program: build it"; !strings.Contains(out.String(), want) {
		t.Errorf("discovery = %s\nwant %q in it", out.String(), want)
	}
}

func TestDiscoveryRow(t *testing.T) {
	var out bytes.Buffer
	printRow(&out, store{name: "etcd", most: 20 * time.Millisecond}, &changes{
		came:  []time.Duration{1e6, 9e6, 2e6},
		went:  []time.Duration{3e6, 4e6, 5e6},
		wrote: []time.Duration{4e5, 5e5, 6e5, 7e5, 8e5, 9e5},
	})
	if got, want := out.String(), "| etcd | 0.6 | 2.0 | 9.0 | 4.0 | 5.0 | 20 |\n"; got != want {
		t.Errorf("printRow = %q, want %q", got, want)
	}
}

func TestDiscoveryChoose(t *testing.T) {
	tests := []struct {
		only string
		want []string
	}{
		{"", []string{"embedded NATS over the admin API", "embedded NATS", "NATS", "etcd", "Consul", "file", "mDNS", "nats+micro"}},
		{"embedded", []string{"embedded NATS over the admin API", "embedded NATS"}},
		{"etcd,m", []string{"etcd", "mDNS"}},
		{overAdminName, []string{overAdminName}},
		{"zookeeper", nil},
	}
	for _, tt := range tests {
		var got []string
		for _, s := range (&discoveryBench{only: tt.only}).choose(stores("")) {
			got = append(got, s.name)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("choose with -only %q = %q, want %q", tt.only, got, tt.want)
		}
	}
}

// TestFileWriter: what is written is what the registry of files reads.
func TestFileWriter(t *testing.T) {
	started, err := startFile(t.Context(), &lab{dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	writer, err := started.open(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := overURL(started.url)(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer standard.Close(reader)
	a, b := newService("a", "127.0.0.1:1", "http", "/a"), newService("b", "127.0.0.1:2", "http", "/b")
	for _, err := range []error{writer.Register(t.Context(), a, 0), writer.Register(t.Context(), b, 0), writer.Deregister(t.Context(), a)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := reader.(registry.Reader).Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for {
		got, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 1 && got[0].Name == "b" && got[0].Nodes[0].Address == "127.0.0.1:2" {
			return
		}
	}
}

// fakeChanges returns changes to a gateway that serves a change only at the
// third request for its path.
func fakeChanges(t *testing.T) *changes {
	t.Helper()
	var (
		mu     sync.Mutex
		routes = map[string]int{} // status by path
		asked  = map[string]int{}
	)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path != "/registry" {
			asked[r.URL.Path]++
			status, known := routes[r.URL.Path]
			if !known || asked[r.URL.Path] < 3 {
				status = http.StatusServiceUnavailable
			}
			w.WriteHeader(status)
			return
		}
		var s registry.Service
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil || r.Header.Get("Content-Type") != "application/json" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		path := s.Endpoints[0].Metadata["path"]
		asked[path] = 0
		routes[path] = map[string]int{"POST": http.StatusOK, "DELETE": http.StatusServiceUnavailable}[r.Method]
	}))
	t.Cleanup(srv.Close)
	g := &gateway{admin: srv.URL, client: srv.Client()}
	return &changes{writer: overAdmin{g}, client: srv.Client(), public: srv.URL, node: "127.0.0.1:1"}
}
