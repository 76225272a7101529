package consul_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fakeAgent answers as Consul's agent does, as far as the registry asks. The
// real one is tried in test/consul.
type fakeAgent struct {
	*httptest.Server

	mu       sync.Mutex
	index    uint64
	services map[string]*instance // by Consul's node and id
	changed  chan struct{}        // closed by the next change
	requests []request            // but for questions
	asked    map[string]int       // requests, by path
	asking   chan struct{}        // closed by the next request
	indexes  []string             // of questions that had one
	down     bool
	blind    bool   // nobody may look at a service of the agent's
	refuse   int    // a status for every answer; 0 for none
	token    string // that every request needs; "" for none
}

// An instance is a service of an agent. The fields are Consul's.
type instance struct {
	Node     string
	NodeAddr string
	Kind     string
	ID       string
	Name     string
	Address  string
	Port     int
	Tags     []string
	Meta     map[string]string
	Check    *struct {
		TTL                            string
		DeregisterCriticalServiceAfter string
		Status                         string
		Notes                          string
	}

	status   string // of the check; "" for none
	modified uint64
	expire   *time.Timer
}

// quietPath is what is asked only to know whether the agent is there.
const quietPath = "/v1/health/service/consul"

// heldPath is where the agent tells of one service that it holds.
const heldPath = "/v1/agent/service/"

type request struct{ method, path, body string }

func newFakeAgent(t testing.TB) *fakeAgent {
	t.Helper()
	f := &fakeAgent{index: 10, services: make(map[string]*instance), changed: make(chan struct{}), asked: make(map[string]int), asking: make(chan struct{})}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

// address returns the URL for Open.
func (f *fakeAgent) address() string { return "consul://" + f.Listener.Addr().String() }

func (f *fakeAgent) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	down, refuse, token := f.down, f.refuse, f.token
	f.asked[r.URL.Path]++
	close(f.asking)
	f.asking = make(chan struct{})
	f.mu.Unlock()
	switch {
	case down:
		panic(http.ErrAbortHandler)
	case refuse != 0:
		http.Error(w, "refused", refuse)
	case token != "" && r.Header.Get("X-Consul-Token") != token:
		http.Error(w, "ACL not found", http.StatusForbidden)
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, heldPath):
		f.tellHeld(w, strings.TrimPrefix(r.URL.Path, heldPath))
	case r.Method == http.MethodGet:
		f.answer(w, r)
	default:
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.requests = append(f.requests, request{r.Method, r.URL.RequestURI(), strings.TrimSpace(string(body))})
		f.write(w, r.URL.Path, body)
	}
}

// tellHeld tells of a service, with a hash of what it is.
func (f *fakeAgent) tellHeld(w http.ResponseWriter, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.services["node-1/"+id]
	switch {
	case f.blind:
		http.Error(w, "Permission denied", http.StatusForbidden)
		return
	case s == nil:
		http.Error(w, "unknown service ID: "+id, http.StatusNotFound)
		return
	}
	told := map[string]any{"ID": s.ID, "Service": s.Name, "Tags": s.Tags, "Meta": s.Meta, "Address": s.Address, "Port": s.Port}
	told["ContentHash"] = fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, told)))
	json.NewEncoder(w).Encode(told)
}

// write does what a PUT asks for. The caller holds f.mu.
func (f *fakeAgent) write(w http.ResponseWriter, path string, body []byte) {
	switch {
	case path == "/v1/agent/service/register":
		s := &instance{Node: "node-1"}
		if err := json.Unmarshal(body, s); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f.put(s)
	case strings.HasPrefix(path, "/v1/agent/service/deregister/"):
		f.remove("node-1/" + strings.TrimPrefix(path, "/v1/agent/service/deregister/"))
	case strings.HasPrefix(path, "/v1/agent/check/update/service:"):
		s := f.services["node-1/"+strings.TrimPrefix(path, "/v1/agent/check/update/service:")]
		var update struct{ Status string }
		if json.Unmarshal(body, &update); s == nil || s.status == "" {
			http.Error(w, "CheckID does not have associated TTL", http.StatusInternalServerError)
			return
		}
		f.start(s)
		f.setStatus(s, update.Status)
	default:
		http.NotFound(w, nil)
	}
}

// put registers an instance. The caller holds f.mu.
func (f *fakeAgent) put(s *instance) {
	key := s.Node + "/" + s.ID
	if s.Check != nil {
		s.status = s.Check.Status
	}
	if old := f.services[key]; old != nil {
		if old.expire != nil {
			old.expire.Stop()
		}
		if s.Check != nil && old.status != "" {
			s.status = old.status
		}
	}
	f.services[key] = s
	f.start(s)
	f.change(s)
}

// start starts the time to live of an instance anew.
func (f *fakeAgent) start(s *instance) {
	if s.expire != nil {
		s.expire.Stop()
	}
	if s.Check == nil || s.Check.TTL == "" {
		return
	}
	ttl, _ := time.ParseDuration(s.Check.TTL)
	s.expire = time.AfterFunc(ttl, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.setStatus(s, "critical")
	})
}

func (f *fakeAgent) setStatus(s *instance, status string) {
	if s.status != status {
		s.status = status
		f.change(s)
	}
}

func (f *fakeAgent) remove(key string) {
	s := f.services[key]
	if s == nil {
		return
	}
	if s.expire != nil {
		s.expire.Stop()
	}
	delete(f.services, key)
	f.change(s)
}

func (f *fakeAgent) change(s *instance) {
	f.index++
	s.modified = f.index
	close(f.changed)
	f.changed = make(chan struct{})
}

// answer answers a question, after a while if it blocks.
func (f *fakeAgent) answer(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	after, _ := strconv.ParseUint(query.Get("index"), 10, 64)
	wait, _ := time.ParseDuration(query.Get("wait"))
	timer := time.NewTimer(wait)
	defer timer.Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	if query.Has("index") {
		f.indexes = append(f.indexes, query.Get("index"))
	}
	quiet := r.URL.Path == quietPath
	for after > 0 && (f.index == after || quiet) {
		changed := f.changed
		f.mu.Unlock()
		var over bool
		select {
		case <-changed:
		case <-timer.C:
			over = true
		case <-r.Context().Done():
			over = true
		}
		f.mu.Lock()
		if over {
			break
		}
	}
	if f.down {
		panic(http.ErrAbortHandler)
	}
	index := f.index
	if quiet {
		index = 1
	}
	w.Header().Set("X-Consul-Index", strconv.FormatUint(index, 10))
	json.NewEncoder(w).Encode(f.told(r.URL.Path, query.Get("filter")))
}

// told returns what a path tells.
func (f *fakeAgent) told(path, filter string) any {
	switch path {
	case "/v1/catalog/services":
		names := map[string][]string{"consul": {}}
		for _, s := range f.services {
			names[s.Name] = append(names[s.Name], s.Tags...)
		}
		return names
	case "/v1/health/state/any":
		list := []map[string]any{{"Node": "node-1", "CheckID": "serfHealth", "Status": "passing", "ModifyIndex": 3}}
		for _, s := range f.services {
			if s.status != "" && (filter == "" || s.status != "passing") {
				list = append(list, f.check(s))
			}
		}
		return list
	}
	name := strings.TrimPrefix(path, "/v1/health/service/")
	list := []any{}
	for _, key := range slices.Sorted(maps.Keys(f.services)) {
		if s := f.services[key]; strings.EqualFold(s.Name, name) {
			list = append(list, f.entry(s))
		}
	}
	return list
}

func (f *fakeAgent) check(s *instance) map[string]any {
	return map[string]any{
		"Node": s.Node, "CheckID": "service:" + s.ID, "Status": s.status, "ServiceID": s.ID, "ServiceName": s.Name,
		"ServiceTags": s.Tags, "ModifyIndex": s.modified,
	}
}

func (f *fakeAgent) entry(s *instance) map[string]any {
	checks := []any{map[string]any{"CheckID": "serfHealth", "Status": "passing"}}
	if s.status != "" {
		checks = append(checks, f.check(s))
	}
	return map[string]any{
		"Node": map[string]any{"Node": s.Node, "Address": s.NodeAddr},
		"Service": map[string]any{
			"Kind": s.Kind, "ID": s.ID, "Service": s.Name, "Tags": s.Tags, "Meta": s.Meta, "Address": s.Address, "Port": s.Port,
			"ModifyIndex": s.modified,
		},
		"Checks": checks,
	}
}

// add registers an instance that somebody else has written, with a status of
// its check if that is not "".
func (f *fakeAgent) add(s *instance, status string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Node = cmpOr(s.Node, "node-2")
	s.status = status
	f.services[s.Node+"/"+s.ID] = s
	f.change(s)
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// set changes the agent, and breaks off what is under way.
func (f *fakeAgent) set(change func()) {
	f.mu.Lock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
}

// sever cuts contact, and returns a function that restores it.
func (f *fakeAgent) sever() (restore func()) {
	f.set(func() { f.down = true })
	f.CloseClientConnections()
	return func() { f.set(func() { f.down = false }) }
}

// written returns the requests that were no questions, as "METHOD path".
func (f *fakeAgent) written() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]string, len(f.requests))
	for i, r := range f.requests {
		path, _ := url.PathUnescape(r.path)
		list[i] = fmt.Sprintf("%s %s", r.method, path)
	}
	f.requests = nil
	return list
}

// awaitQuestions waits until a path was asked for so many times.
func (f *fakeAgent) awaitQuestions(t testing.TB, path string, n int) {
	t.Helper()
	for {
		f.mu.Lock()
		count, asking := f.asked[path], f.asking
		f.mu.Unlock()
		if count >= n {
			return
		}
		receive(t, asking)
	}
}

// questions returns how often something was asked, all in all.
func (f *fakeAgent) questions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, count := range f.asked {
		n += count
	}
	return n
}
