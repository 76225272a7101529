package consul_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/consul"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// capture returns what go-micro v6 registered.
func capture(t testing.TB) *instance {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "v6-register.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := new(instance)
	if err := json.Unmarshal(data, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReadsGoMicro(t *testing.T) {
	f := newFakeAgent(t)
	s := capture(t)
	f.add(s, "passing")
	got := get(t, open(t, f.address()), "greeterconsul")
	if got.Version != "latest" || len(got.Metadata) != 0 || len(got.Nodes) != 1 {
		t.Fatalf("Get() = %+v, want one node of version latest", got)
	}
	want := &registry.Node{
		ID: "greeterconsul-8f791e68-1e97-44b4-aa95-cb5c0bc92e9c", Address: "127.0.0.1:19006",
		Metadata: map[string]string{
			"broker": "nats", "protocol": "mucp", "registry": "consul", "server": "mucp", "transport": "http", "zone": "test",
		},
	}
	if n := got.Nodes[0]; n.ID != want.ID || n.Address != want.Address || !maps.Equal(n.Metadata, want.Metadata) {
		t.Errorf("node = %+v, want %+v", n, want)
	}
	names := make([]string, len(got.Endpoints))
	for i, e := range got.Endpoints {
		names[i] = e.Name
	}
	wantNames := []string{
		"Echo.Call", "Greeter.Count", "Greeter.Fail", "Greeter.Hello", "Greeter.PingPong", "Greeter.Slow", "Greeter.Stream", "Func", "Func",
	}
	if !slices.Equal(names, wantNames) {
		t.Errorf("endpoints = %q, want %q", names, wantNames)
	}
	if hello := got.Endpoints[3]; hello.Metadata["path"] != "^/greeter/hello/?$" || len(hello.Request.Values) != 6 {
		t.Errorf("Greeter.Hello = %+v, want its path and the six fields of its request", hello)
	}
}

// TestWritesGoMicro: what is registered anew is what go-micro had registered,
// but for the bytes that a compressor is free to choose.
func TestWritesGoMicro(t *testing.T) {
	f := newFakeAgent(t)
	original := capture(t)
	f.add(original, "passing")
	r := open(t, f.address())
	registrytest.Register(t, r, get(t, r, "greeterconsul"), time.Minute)
	f.set(func() {
		ours := f.services["node-1/"+original.ID]
		if ours == nil {
			t.Fatalf("no instance has the id %q", original.ID)
		}
		if ours.Name != original.Name || ours.Address != original.Address || ours.Port != original.Port || !maps.Equal(ours.Meta, original.Meta) {
			t.Errorf("Register() = %+v, want %+v", ours, original)
		}
		if ours.Check.TTL != original.Check.TTL || ours.Check.DeregisterCriticalServiceAfter != original.Check.DeregisterCriticalServiceAfter {
			t.Errorf("Register() check = %+v, want %+v", ours.Check, original.Check)
		}
		for _, tag := range original.Tags { // where there is one pair or none, there is one way to write it
			if tag[0] != 'e' && !slices.Contains(ours.Tags, tag) {
				t.Errorf("Register() tags = %q, want %q among them", ours.Tags, tag)
			}
		}
		if got, want := inflated(t, ours.Tags), inflated(t, original.Tags); !slices.Equal(got, want) {
			t.Errorf("Register() tags =\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
	f.set(func() { f.remove("node-2/" + original.ID) })
	if got := get(t, r, "greeterconsul"); len(got.Endpoints) != 9 || got.Nodes[0].Metadata["zone"] != "test" {
		t.Errorf("Get() of what was registered anew = %+v, want 9 endpoints and the metadata", got)
	}
}

// inflated returns what go-micro reads in tags, ordered: JSON without its order
// of keys.
func inflated(t testing.TB, tags []string) []string {
	t.Helper()
	list := make([]string, len(tags))
	for i, tag := range tags {
		packed, err := hex.DecodeString(tag[2:])
		if err != nil {
			t.Fatal(err)
		}
		z, err := zlib.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Errorf("go-micro cannot read the tag %q: %v", tag, err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			v = string(text)
		}
		list[i] = fmt.Sprintf("%s %v", tag[:2], v)
	}
	slices.Sort(list)
	return list
}

func TestReads(t *testing.T) {
	tests := []struct {
		name string
		in   instance
		want registry.Service
	}{
		{
			"go-micro's old tags",
			instance{ID: "a-1", Address: "10.0.0.1", Port: 80, Tags: []string{
				`t={"protocol":"mucp"}`, `t={"zone":"a","rack":"b"}`, `e={"name":"A.B","request":null,"response":null,"metadata":{"stream":"true"}}`, "v=1.2",
			}},
			registry.Service{
				Version:   "1.2",
				Endpoints: []*registry.Endpoint{{Name: "A.B", Metadata: map[string]string{"stream": "true"}}},
				Nodes:     []*registry.Node{{ID: "a-1", Address: "10.0.0.1:80", Metadata: map[string]string{"protocol": "mucp", "zone": "a", "rack": "b"}}},
			},
		},
		{
			"a plain service",
			instance{ID: "web", Port: 80, NodeAddr: "10.0.0.9", Meta: map[string]string{
				"version": "3", "protocol": "http", "team": "blue",
				"goapi-endpoint-2": "List;path=/things", "goapi-endpoint-1": " Hello ; method=GET;path=/hello/{name};;stream=true",
			}, Tags: []string{"t-shirt", "e-commerce", "v-1", "primary", "", "g=x", "t-78zz"}},
			registry.Service{
				Version: "3",
				Endpoints: []*registry.Endpoint{
					{Name: "Hello", Metadata: map[string]string{"endpoint": "Hello", "method": "GET", "path": "/hello/{name}", "stream": "true", "handler": "http"}},
					{Name: "List", Metadata: map[string]string{"endpoint": "List", "path": "/things", "handler": "http"}},
				},
				Nodes: []*registry.Node{{ID: "web@node-2", Address: "10.0.0.9:80", Metadata: map[string]string{"version": "3", "protocol": "http", "team": "blue"}}},
			},
		},
		{
			"a plain service of gRPC",
			instance{ID: "web", Port: 80, Address: "::1", Meta: map[string]string{"protocol": "grpc", "goapi-endpoint": "A.B;path=/b;handler=api", "goapi-endpoint-x": "A.C;path=/c"}},
			registry.Service{
				Endpoints: []*registry.Endpoint{
					{Name: "A.B", Metadata: map[string]string{"endpoint": "A.B", "path": "/b", "handler": "api"}},
					{Name: "A.C", Metadata: map[string]string{"endpoint": "A.C", "path": "/c", "handler": "rpc"}},
				},
				Nodes: []*registry.Node{{ID: "web@node-2", Address: "[::1]:80", Metadata: map[string]string{"protocol": "grpc"}}},
			},
		},
		{
			"all that an endpoint may say",
			instance{ID: "web", Port: 80, Address: "h", Meta: map[string]string{
				"goapi-endpoint-1": "Admin;path=/admin;expose=false;scopes=admin,audit", "goapi-endpoint-2": "OnOrder;path=/on;subscriber=true;push=true;topic=orders;protocol=cloudevents",
			}},
			registry.Service{
				Endpoints: []*registry.Endpoint{
					{Name: "Admin", Metadata: map[string]string{"endpoint": "Admin", "path": "/admin", "handler": "http", "expose": "false", "scopes": "admin,audit"}},
					{Name: "OnOrder", Metadata: map[string]string{
						"endpoint": "OnOrder", "path": "/on", "subscriber": "true", "push": "true", "topic": "orders", "protocol": "cloudevents",
					}},
				},
				Nodes: []*registry.Node{{ID: "web@node-2", Address: "h:80"}},
			},
		},
		{
			"a tag that may mean the version",
			instance{ID: "web", Port: 80, Address: "h", Tags: []string{"v=7"}},
			registry.Service{Version: "7", Nodes: []*registry.Node{{ID: "web@node-2", Address: "h:80"}}},
		},
		{
			"go-micro v5 without tags of metadata",
			instance{ID: "a-1", Port: 80, Address: "h", Tags: []string{"v-789cca492c492d2e01040000ffff08cc028e"}, Meta: map[string]string{"protocol": "grpc"}},
			registry.Service{Version: "latest", Nodes: []*registry.Node{{ID: "a-1", Address: "h:80", Metadata: map[string]string{"protocol": "grpc"}}}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeAgent(t)
			tt.in.Name, tt.want.Name = "svc", "svc"
			f.add(&tt.in, "")
			if got := get(t, open(t, f.address()), "svc"); text(t, got) != text(t, &tt.want) {
				t.Errorf("Get() =\n%s, want\n%s", text(t, got), text(t, &tt.want))
			}
		})
	}
}

// text returns a service as JSON without what is empty.
func text(t testing.TB, s *registry.Service) string {
	t.Helper()
	c := s.Copy()
	if len(c.Metadata) == 0 {
		c.Metadata = nil
	}
	for _, n := range c.Nodes {
		if len(n.Metadata) == 0 {
			n.Metadata = nil
		}
	}
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestHealth: a node with a critical check is not there, and all others are.
func TestHealth(t *testing.T) {
	f := newFakeAgent(t)
	for id, status := range map[string]string{"a-1": "passing", "a-2": "warning", "a-3": "critical", "a-4": ""} {
		f.add(&instance{Name: "a", ID: id, Address: "h", Port: 80}, status)
	}
	r := open(t, f.address())
	w := registrytest.Watch(t, r)
	w.Await("the nodes that are not critical", registrytest.HasNodes("a-1@node-2", "a-2@node-2", "a-4@node-2"))
	f.set(func() { f.setStatus(f.services["node-2/a-3"], "passing") })
	f.set(func() { f.setStatus(f.services["node-2/a-1"], "critical") })
	w.Await("the nodes that are not critical now", registrytest.HasNodes("a-2@node-2", "a-3@node-2", "a-4@node-2"))
}

func TestPassesOver(t *testing.T) {
	f := newFakeAgent(t)
	f.add(&instance{Name: "web-sidecar-proxy", ID: "p", Kind: "connect-proxy", Address: "h", Port: 80}, "")
	f.add(&instance{Name: "consul", ID: "consul", Address: "h", Port: 8300}, "")
	f.add(&instance{Name: "Web", ID: "w", Address: "h", Port: 80}, "")
	r := open(t, f.address())
	got, err := r.List(t.Context())
	if err != nil || len(got) != 1 || got[0].Name != "Web" {
		t.Errorf("List() = %v, %v, want Web alone", got, err)
	}
	if list := r.LeftOut(); len(list) != 0 {
		t.Errorf("LeftOut() = %v, want none", list)
	}
}

// TestLeftOut: one bad record never hurts another, and all are reported, once.
func TestLeftOut(t *testing.T) {
	f := newFakeAgent(t)
	bomb := strings.Repeat("00", 1<<20)
	tests := []struct {
		name, key string
		in        instance
		want      string
	}{
		{"no port", "bad/node-2/1", instance{ID: "1", Address: "h"}, "its port is 0"},
		{"a port too large", "bad/node-2/2", instance{ID: "2", Address: "h", Port: 65536}, "its port is 65536"},
		{"no address", "bad/node-2/3", instance{ID: "3", Port: 80}, "neither the service nor its node"},
		{"a tag cut off", "bad/node-2/4", instance{ID: "4", Address: "h", Port: 80, Tags: []string{"x", "e-789cca49"}}, "tags[1]: what is compressed is cut off"},
		{"a tag that is not compressed", "bad/node-2/5", instance{ID: "5", Address: "h", Port: 80, Tags: []string{"e-7800" + bomb}}, "tags[0]: it is not compressed"},
		{"a tag without JSON", "bad/node-2/6", instance{ID: "6", Address: "h", Port: 80, Tags: []string{"t=[1]"}}, "tags[0]: it does not hold the JSON"},
		{"values too deep", "bad/node-2/7", instance{ID: "7", Address: "h", Port: 80, Tags: []string{
			`e={"name":"A.B","request":` + strings.Repeat(`{"values":[`, 70) + strings.Repeat(`]}`, 70) + `}`,
		}}, "tags[0]: request: values nest deeper"},
		{"many tags", "bad/node-2/a", instance{ID: "a", Address: "h", Port: 80, Tags: slices.Repeat([]string{"t={}"}, 10_001)}, "tags: there are more than 10000"},
		{"large tags", "bad/node-2/b", instance{ID: "b", Address: "h", Port: 80, Tags: slices.Repeat([]string{`t={"a":"` + strings.Repeat("x", 1<<19) + `"}`}, 17)}, "tags: they hold more than 8388608 bytes"},
	}
	f.add(&instance{Name: "bad", ID: "good", Address: "h", Port: 80}, "")
	for _, tt := range tests {
		tt.in.Name = "bad"
		f.add(&tt.in, "")
	}
	var log bytes.Buffer
	r, err := tryOpen(t.Context(), f.address(), &consul.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 2 {
		if got, err := r.List(t.Context()); err != nil || !registrytest.HasNodes("good@node-2")(got) {
			t.Fatalf("List() = %v, %v, want the good node", got, err)
		}
	}
	list := r.LeftOut()
	if len(list) != len(tests) {
		t.Fatalf("LeftOut() = %+v, want %d", list, len(tests))
	}
	for i, tt := range tests {
		if o := list[i]; o.Key != tt.key || o.Service != "bad" || !strings.Contains(o.Reason, tt.want) {
			t.Errorf("%s: omission = %+v, want %s: %s", tt.name, o, tt.key, tt.want)
		}
	}
	if got := strings.Count(log.String(), "\n"); got != len(tests) {
		t.Errorf("the log has %d lines, want one for each record:\n%.2000s", got, log.String())
	}
}

// TestBadEndpointIsLeftOut: an endpoint that cannot be read takes neither its
// node nor other endpoints along, and makes nothing public.
func TestBadEndpointIsLeftOut(t *testing.T) {
	tests := []struct {
		name string
		meta map[string]string
		want string // of the reason; empty is none
		read []string
	}{
		{"none is bad", map[string]string{"goapi-endpoint-1": "A;path=/a"}, "", []string{"A"}},
		{"no name", map[string]string{"goapi-endpoint-1": "path=/x", "goapi-endpoint-2": "B;path=/b"}, "the endpoint of meta goapi-endpoint-1: it has no name", []string{"goapi-endpoint-1 hidden", "B"}},
		{"an unknown key", map[string]string{"goapi-endpoint": "A;path=/a", "goapi-endpoint-1": "Admin;pth=/x"}, `"pth=/x" is not known; want NAME`, []string{"A", "goapi-endpoint-1 hidden"}},
		{"not true or false", map[string]string{"goapi-endpoint-1": "Admin;expose=no"}, `"expose=no": want expose=true or expose=false`, []string{"goapi-endpoint-1 hidden"}},
		{"two", map[string]string{"goapi-endpoint-1": "x=y", "goapi-endpoint-2": ""}, "(and 1 more endpoints)", []string{"goapi-endpoint-1 hidden", "goapi-endpoint-2 hidden"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeAgent(t)
			f.add(&instance{Name: "svc", ID: "web", Address: "h", Port: 80, Meta: tt.meta}, "")
			r := open(t, f.address())
			list, err := r.List(t.Context())
			if err != nil || !registrytest.HasNodes("web@node-2")(list) {
				t.Fatalf("List() = %v, %v, want the node", list, err)
			}
			var got []string
			for _, e := range list[0].Endpoints {
				if e.Metadata["expose"] == "false" {
					e = &registry.Endpoint{Name: e.Name + " hidden"}
				}
				got = append(got, e.Name)
			}
			if !slices.Equal(got, tt.read) {
				t.Errorf("List() has the endpoints %q, want %q", got, tt.read)
			}
			out := r.LeftOut()
			if tt.want == "" {
				if len(out) != 0 {
					t.Errorf("LeftOut() = %+v, want none", out)
				}
				return
			}
			if len(out) != 1 || out[0].Key != "svc/node-2/web" || out[0].Service != "svc" || out[0].Node != "web@node-2" || !strings.Contains(out[0].Reason, tt.want) {
				t.Errorf("LeftOut() = %+v, want the node's endpoint: %s", out, tt.want)
			}
		})
	}
}

// TestBadEndpointIsForgotten: an endpoint that is mended is told of no more.
func TestBadEndpointIsForgotten(t *testing.T) {
	f := newFakeAgent(t)
	f.add(&instance{Name: "svc", ID: "web", Address: "h", Port: 80, Meta: map[string]string{"goapi-endpoint-1": "x=y"}}, "")
	r := open(t, f.address())
	w := registrytest.Watch(t, r)
	w.Await("the node", registrytest.HasNodes("web@node-2"))
	if list := r.LeftOut(); len(list) != 1 {
		t.Errorf("LeftOut() = %+v, want the endpoint", list)
	}
	f.add(&instance{Name: "svc", ID: "web", Address: "h", Port: 80, Meta: map[string]string{"goapi-endpoint-1": "X;path=/x"}}, "passing")
	w.Await("its endpoint", func(list []*registry.Service) bool { return list[0].Endpoints[0].Name == "X" })
	if list := r.LeftOut(); len(list) != 0 {
		t.Errorf("LeftOut() = %+v, want none", list)
	}
}

// TestLeftOutIsForgotten: a watcher says what is wrong now.
func TestLeftOutIsForgotten(t *testing.T) {
	f := newFakeAgent(t)
	f.add(&instance{Name: "bad", ID: "1", Address: "h"}, "passing")
	f.add(&instance{Name: "a/../b", ID: "9", Address: "h", Port: 80}, "")
	r := open(t, f.address())
	w := registrytest.Watch(t, r)
	w.Await("nothing", registrytest.HasNodes())
	if list := r.LeftOut(); len(list) != 2 || list[0].Key != url.PathEscape("a/../b") || list[1].Key != "bad/node-2/1" {
		t.Errorf("LeftOut() = %+v, want both records", list)
	}
	f.add(&instance{Name: "bad", ID: "1", Address: "h", Port: 80}, "passing")
	f.set(func() { f.remove("node-2/9") })
	f.add(&instance{Name: "bad", ID: "2", Address: "h", Port: 80}, "passing")
	w.Await("the nodes", registrytest.HasNodes("1@node-2", "2@node-2"))
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if got, err := w.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next() = %v, %v, want %v", got, err, context.DeadlineExceeded)
	}
	if list := r.LeftOut(); len(list) != 0 {
		t.Errorf("LeftOut() = %+v, want none", list)
	}
}

// TestSameIDs: ids of plain services need be unique on one node of Consul only;
// go-micro's are everywhere, and where they are not, that is reported.
func TestSameIDs(t *testing.T) {
	f := newFakeAgent(t)
	for _, node := range []string{"n1", "n2"} {
		f.add(&instance{Node: node, Name: "plain", ID: "x", Address: "h", Port: 80}, "")
		f.add(&instance{Node: node, Name: "micro", ID: "x", Address: "h", Port: 80, Tags: []string{"t={}"}}, "")
	}
	f.set(func() { // the fake has one key for both
		for _, node := range []string{"n1", "n2"} {
			f.services[node+"/y"] = &instance{Node: node, Name: "plain", ID: "x", Address: "h", Port: 80}
		}
	})
	r := open(t, f.address())
	got, err := r.List(t.Context())
	if err != nil || !registrytest.HasNodes("x", "x@n1", "x@n2")(got) {
		t.Errorf("List() = %v, %v, want three nodes", got, err)
	}
	if list := r.LeftOut(); len(list) != 1 || list[0].Key != "micro/n1/x" || list[0].Node != "x" {
		t.Errorf("LeftOut() = %+v, want the node of go-micro that is there twice", list)
	}
}

// TestNobodySpeaksForOthers: a tag of ours is believed only where it can be
// checked.
func TestNobodySpeaksForOthers(t *testing.T) {
	f := newFakeAgent(t)
	r := open(t, f.address())
	registrytest.Register(t, r, &registry.Service{Name: "../a", Nodes: []*registry.Node{{ID: "x y", Address: "h:80"}}}, 0)
	var stolen []string
	f.set(func() {
		for _, s := range f.services {
			stolen = s.Tags
		}
	})
	f.add(&instance{Name: "evil", ID: "evil-1", Address: "h", Port: 81, Tags: stolen}, "")
	got, err := r.List(t.Context())
	if err != nil || !registrytest.HasNodes("x y")(got) || got[0].Name != "../a" || got[0].Nodes[0].Address != "h:80" {
		t.Errorf("List() = %+v, %v, want the true one alone", got, err)
	}
	if list := r.LeftOut(); len(list) != 1 || !strings.Contains(list[0].Reason, "claims") {
		t.Errorf("LeftOut() = %+v, want the other", list)
	}
}

// get returns the only version of a service.
func get(t testing.TB, r registry.Reader, name string) *registry.Service {
	t.Helper()
	got, err := r.Get(t.Context(), name)
	if err != nil || len(got) != 1 {
		t.Fatalf("Get(%q) = %v, %v, want one", name, got, err)
	}
	return got[0]
}
