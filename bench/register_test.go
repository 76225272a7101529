package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
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
	m.gateway.admin += "/nowhere"
	if err := m.comeAndGo(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "status 503") {
		t.Errorf("comeAndGo error = %v, want the status", err)
	}
}

func TestRegisterTable(t *testing.T) {
	var out bytes.Buffer
	(&registerBench{registry: "embedded:", services: 7, changes: 3}).print(&out, &changes{
		came: []time.Duration{1e6, 9e6, 2e6},
		went: []time.Duration{3e6, 4e6, 5e6},
	})
	for _, want := range []string{
		"3 changes beside 7 services, registry embedded:",
		"first request routed | 2.0 | 9.0 | 9.0 |",
		"first request refused | 4.0 | 5.0 | 5.0 |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("print = %s\nwant %q in it", out.String(), want)
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
		routes[path] = map[string]int{"POST": http.StatusOK, "DELETE": http.StatusNotFound}[r.Method]
	}))
	t.Cleanup(srv.Close)
	g := &gateway{admin: srv.URL, client: srv.Client()}
	return &changes{gateway: g, public: srv.URL, node: "127.0.0.1:1"}
}
