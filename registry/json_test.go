package registry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

// TestServiceReadsCaptures reads what services of go-micro v1.18, v2.9 and v6
// wrote to etcd. The first two write the fields in the order that we do.
func TestServiceReadsCaptures(t *testing.T) {
	tests := []struct {
		file      string
		name      string
		version   string
		endpoints int
		address   string
		sameBytes bool
	}{
		{"v1-greeter.json", "greeter1", "2026.11.22.13.14", 7, "127.0.0.1:19021", true},
		{"v2-greeter.json", "greeter2", "latest", 7, "127.0.0.1:19011", true},
		{"v6-greeter.json", "greeter", "latest", 8, "127.0.0.1:19001", false},
		{"v6-broker.json", "micro.http.broker", "ff.http.broadcast", 0, "127.0.0.1:45427", false},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			data := capture(t, tt.file)
			s := decode(t, data)
			if s.Name != tt.name || s.Version != tt.version {
				t.Errorf("name and version = %q %q, want %q %q", s.Name, s.Version, tt.name, tt.version)
			}
			if len(s.Endpoints) != tt.endpoints {
				t.Errorf("there are %d endpoints, want %d", len(s.Endpoints), tt.endpoints)
			}
			if len(s.Nodes) != 1 || s.Nodes[0].Address != tt.address {
				t.Errorf("nodes = %s, want one at %s", encode(t, s), tt.address)
			}
			if err := s.Validate(); err != nil {
				t.Errorf("Validate() = %v, want nil", err)
			}
			if got := encode(t, s); tt.sameBytes && !bytes.Equal(got, data) {
				t.Errorf("Marshal(Unmarshal(data)) =\n%s, want data:\n%s", got, data)
			}
		})
	}
}

func TestServiceReadsEveryField(t *testing.T) {
	got := decode(t, capture(t, "v6-greeter.json"))
	want := &registry.Endpoint{
		Name:     "Greeter.Stream",
		Request:  &registry.Value{Name: "Context", Type: "Context"},
		Response: &registry.Value{Name: "Stream", Type: "Stream"},
		Metadata: map[string]string{
			"description": "test endpoint", "endpoint": "Greeter.Stream", "handler": "rpc",
			"method": "GET", "path": "/greeter/stream", "stream": "true",
		},
	}
	if !reflect.DeepEqual(got.Endpoints[5], want) {
		t.Errorf("endpoint 5 = %+v, want %+v", got.Endpoints[5], want)
	}
	if subscriber := got.Endpoints[6]; subscriber.Response != nil || subscriber.Metadata["topic"] != "greeter.hello" {
		t.Errorf("endpoint 6 = %+v, want a subscriber without a response", subscriber)
	}
	if inner := got.Endpoints[1].Request.Values[3]; inner.Name != "inner" || inner.Values[1].Type != "float64" {
		t.Errorf("value 3 of endpoint 1 = %+v, want inner with a float64", inner)
	}
	if zone := got.Nodes[0].Metadata["zone"]; zone != "test" {
		t.Errorf("zone of the node = %q, want test", zone)
	}
}

func TestNodeAddress(t *testing.T) {
	tests := []struct {
		node string
		want string
	}{
		{`{"address":"10.0.0.1:80"}`, "10.0.0.1:80"},
		{`{"address":"10.0.0.1:80","port":0}`, "10.0.0.1:80"},
		{`{"address":"10.0.0.1","port":80}`, "10.0.0.1:80"},
		{`{"Address":"10.0.0.1","Port":80}`, "10.0.0.1:80"},
		{`{"address":"10.0.0.1:80","port":81}`, "10.0.0.1:80"},
		{`{"address":"node.example","port":80}`, "node.example:80"},
		{`{"address":"node.example","port":"80"}`, "node.example:80"},
		{`{"address":"fd00::2","port":80}`, "[fd00::2]:80"},
		{`{"address":"[fd00::2]","port":80}`, "[fd00::2]:80"},
		{`{"address":"[fd00::2]:80","port":81}`, "[fd00::2]:80"},
		{`{"address":"fe80::1%eth0","port":80}`, "[fe80::1%eth0]:80"},
		{`{"address":"::1","port":65535}`, "[::1]:65535"},
		// What cannot be joined is for the router to report.
		{`{"address":"10.0.0.1"}`, "10.0.0.1"},
		{`{"address":"10.0.0.1","port":null}`, "10.0.0.1"},
		{`{"address":"10.0.0.1","port":65536}`, "10.0.0.1"},
		{`{"address":"10.0.0.1","port":-1}`, "10.0.0.1"},
		{`{"address":"10.0.0.1","port":1.5}`, "10.0.0.1"},
		{`{"address":"10.0.0.1","port":{}}`, "10.0.0.1"},
		{`{"address":"a:b:c","port":80}`, "a:b:c"},
		{`{"address":"","port":80}`, ""},
		{`{"port":80}`, ""},
		{`{"address":"_INBOX.queue"}`, "_INBOX.queue"},
	}
	for _, tt := range tests {
		t.Run(tt.node, func(t *testing.T) {
			var n registry.Node
			if err := json.Unmarshal([]byte(tt.node), &n); err != nil {
				t.Fatal(err)
			}
			if n.Address != tt.want {
				t.Errorf("Unmarshal(%s) address = %q, want %q", tt.node, n.Address, tt.want)
			}
		})
	}
}

func TestServiceLeavesOutNulls(t *testing.T) {
	s := decode(t, []byte(`{"NAME":"a","Metadata":null,"nodes":[null,{"id":"n","address":"a:1"},null],
		"endpoints":[null,{"name":"A.B","request":{"values":[null,{"name":"v","values":[null]}]}}]}`))
	got := string(encode(t, s))
	want := `{"name":"a","version":"","metadata":null,"endpoints":[{"name":"A.B","request":{"name":"","type":"",` +
		`"values":[{"name":"v","type":"","values":[]}]},"response":null,"metadata":null}],` +
		`"nodes":[{"id":"n","address":"a:1","metadata":null}]}`
	if got != want {
		t.Errorf("service =\n%s, want\n%s", got, want)
	}
	if got := decode(t, []byte("null")); !reflect.DeepEqual(got, new(registry.Service)) {
		t.Errorf("Unmarshal(null) = %+v, want nothing", got)
	}
}

func TestServiceRefuses(t *testing.T) {
	deep := func(n int) string {
		return fmt.Sprintf(`{"endpoints":[{"name":"A.B","response":%s{}%s}]}`,
			strings.Repeat(`{"values":[`, n), strings.Repeat("]}", n))
	}
	for _, data := range []string{
		`[]`, `{`, `{"name":1}`, `{"nodes":{}}`, `{"nodes":["n"]}`, `{"nodes":[{"id":1}]}`, `{"metadata":{"a":1}}`,
		`{"endpoints":["A.B"]}`, `{"endpoints":[{"request":"none"}]}`, deep(64), deep(5000),
	} {
		if err := json.Unmarshal([]byte(data), new(registry.Service)); err == nil {
			t.Errorf("Unmarshal(%.60s…) error = nil, want one", data)
		}
	}
	if err := json.Unmarshal([]byte(deep(63)), new(registry.Service)); err != nil {
		t.Errorf("Unmarshal of 64 levels of values error = %v, want nil", err)
	}
}

// TestServiceErrorsSayWhere: a type of ours, or a value that somebody sent, is
// no help to whoever sent it.
func TestServiceErrorsSayWhere(t *testing.T) {
	tests := []struct {
		data string
		want string
	}{
		{`{"name":1}`, "registry: name: it cannot be a JSON number"},
		{`{"metadata":[]}`, "registry: metadata: it cannot be a JSON array"},
		{`{"nodes":{}}`, "registry: nodes: it cannot be a JSON object"},
		{`{"nodes":[{"id":"a"},null,{"address":123456789}]}`, "registry: nodes[2].address: it cannot be a JSON number"},
		{`{"nodes":["a:1"]}`, "registry: nodes[0]: it cannot be a JSON string"},
		{`{"endpoints":[{},{"name":false}]}`, "registry: endpoints[1].name: it cannot be a JSON bool"},
		{`{"endpoints":[{"request":{"values":[{"type":{}}]}}]}`, "registry: endpoints[0].request.values.type: it cannot be a JSON object"},
		{`{"endpoints":[{"response":` + strings.Repeat(`{"values":[`, 64) + `{}` + strings.Repeat("]}", 64) + `}]}`,
			"registry: endpoints[0].response: values nest deeper than 64"},
		{`[]`, "it cannot be a JSON array"},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			err := json.Unmarshal([]byte(tt.data), new(registry.Service))
			if err == nil || err.Error() != tt.want {
				t.Errorf("Unmarshal(%.60s) error = %v, want %s", tt.data, err, tt.want)
			}
		})
	}
	for data, v := range map[string]any{`{"address":1}`: new(registry.Node), `{"name":1}`: new(registry.Endpoint)} {
		var field *registry.FieldError
		if err := json.Unmarshal([]byte(data), v); !errors.As(err, &field) || !strings.Contains(data, field.Field) {
			t.Errorf("Unmarshal(%s) of a %T error = %v, want a FieldError of what it is", data, v, err)
		}
	}
}

// FuzzServiceJSON: what was read is written so that it reads the same.
func FuzzServiceJSON(f *testing.F) {
	addCaptures(f)
	f.Add([]byte(`{"Name":"a","nodes":[{"id":"a-1","address":"::1","port":80}]}`))
	f.Add([]byte(`{"name":"a","endpoints":[null,{"request":{"values":[null]}}],"nodes":[null,{"address":"[::1","port":"7"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s registry.Service
		if json.Unmarshal(data, &s) != nil {
			return
		}
		again := decode(t, encode(t, &s))
		if !reflect.DeepEqual(again, &s) {
			t.Errorf("Unmarshal(Marshal(s)) =\n%s, want s:\n%s", encode(t, again), encode(t, &s))
		}
		if c := s.Copy(); !reflect.DeepEqual(c, &s) {
			t.Errorf("Copy() =\n%s, want\n%s", encode(t, c), encode(t, &s))
		}
		_ = s.Validate() // does not panic
	})
}

func addCaptures(f *testing.F) {
	f.Helper()
	for _, name := range []string{"v1-greeter.json", "v2-greeter.json", "v6-greeter.json", "v6-broker.json"} {
		f.Add(capture(f, name))
	}
}

func capture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(data)
}

func decode(t testing.TB, data []byte) *registry.Service {
	t.Helper()
	s := new(registry.Service)
	if err := json.Unmarshal(data, s); err != nil {
		t.Fatalf("Unmarshal(%s) error = %v, want nil", data, err)
	}
	return s
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("Marshal error = %v, want nil", err)
	}
	return data
}
