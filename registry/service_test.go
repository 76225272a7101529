package registry_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

func TestServiceValidate(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(s *registry.Service)
		want  string // field; empty for none
	}{
		{"nothing", func(*registry.Service) {}, ""},
		{"no version, no endpoints, no metadata", func(s *registry.Service) { s.Version, s.Endpoints, s.Metadata = "", nil, nil }, ""},
		{"no name", func(s *registry.Service) { s.Name = "" }, "name"},
		{"long name", func(s *registry.Service) { s.Name = strings.Repeat("é", 128) }, "name"},
		{"longest name", func(s *registry.Service) { s.Name = strings.Repeat("n", 255) }, ""},
		{"control character in name", func(s *registry.Service) { s.Name = "a\nb" }, "name"},
		{"C1 control character in name", func(s *registry.Service) { s.Name = "a\u0085b" }, "name"},
		{"name not UTF-8", func(s *registry.Service) { s.Name = "a\xff" }, "name"},
		{"text that runs backwards in name", func(s *registry.Service) { s.Name = "a\u202eb" }, "name"},
		{"invisible character in name", func(s *registry.Service) { s.Name = "a\u200bb" }, "name"},
		{"replacement character in name", func(s *registry.Service) { s.Name = "a\ufffdb" }, "name"},
		{"letters of other scripts in name", func(s *registry.Service) { s.Name = "größe-名" }, ""},
		{"slashes and spaces in name", func(s *registry.Service) { s.Name = "a/b c:d" }, ""},
		{"control character in version", func(s *registry.Service) { s.Version = "\x1b[31m" }, "version"},
		{"null endpoint", func(s *registry.Service) { s.Endpoints = append(s.Endpoints, nil) }, "endpoints[1]"},
		{"too many endpoints", func(s *registry.Service) { s.Endpoints = make([]*registry.Endpoint, 10_001) }, "endpoints"},
		{"too many nodes", func(s *registry.Service) { s.Nodes = make([]*registry.Node, 10_001) }, "nodes"},
		{"no node", func(s *registry.Service) { s.Nodes = nil }, "nodes"},
		{"null node", func(s *registry.Service) { s.Nodes[0] = nil }, "nodes[0]"},
		{"no id", func(s *registry.Service) { s.Nodes[1].ID = "" }, "nodes[1].id"},
		{"control character in id", func(s *registry.Service) { s.Nodes[0].ID = "\x00" }, "nodes[0].id"},
		{"text that runs backwards in id", func(s *registry.Service) { s.Nodes[0].ID = "a\u202eb" }, "nodes[0].id"},
		{"as much as there may be", func(s *registry.Service) { fatten(s, 31<<20/100, 100) }, ""},
		{"much for each of many nodes", func(s *registry.Service) { fatten(s, 33<<20/100, 100) }, "nodes"},
		{"much for one node", func(s *registry.Service) { fatten(s, 33<<20, 1) }, ""},
		{"same id", func(s *registry.Service) { s.Nodes[1].ID = s.Nodes[0].ID }, "nodes[1].id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := greeter()
			tt.spoil(s)
			if got := field(t, s.Validate()); got != tt.want {
				t.Errorf("Validate() field = %q, want %q", got, tt.want)
			}
		})
	}
}

// fatten gives a service so many nodes, and an endpoint of so many bytes.
func fatten(s *registry.Service, size, nodes int) {
	s.Endpoints[0].Metadata = map[string]string{"description": strings.Repeat("d", size)}
	s.Nodes = nil
	for i := range nodes {
		s.Nodes = append(s.Nodes, &registry.Node{ID: fmt.Sprint(i), Address: "127.0.0.1:1"})
	}
}

func TestServiceValidateAddress(t *testing.T) {
	tests := []struct {
		address string
		ok      bool
	}{
		{"127.0.0.1:80", true},
		{"[::1]:80", true},
		{"node.example:65535", true},
		{"node_1:1", true},
		{"[fd00::2]:80", true},
		{"169.253.0.1:80", true},
		{"node.example.:80", true},
		{strings.Repeat("n", 252) + ":80", true},
		{strings.Repeat("n", 253) + ":80", false},
		{"*:80", false},
		{"a..b:80", false},
		{".a:80", false},
		{"nöde.example:80", false},
		{"node\u202eexample:80", false},
		{"node%41:80", false},
		{"", false},
		{":80", false},
		{"127.0.0.1", false},
		{"127.0.0.1:", false},
		{"127.0.0.1:0", false},
		{"127.0.0.1:-1", false},
		{"127.0.0.1:+80", false},
		{"127.0.0.1:65536", false},
		{"127.0.0.1:http", false},
		{"::1:80", false},
		{"http://node.example:80", false},
		{"user@node.example:80", false},
		{"node example:80", false},
		{"node\r\nexample:80", false},
		{"169.254.0.1:80", false},
		{"169.254.169.254:80", false},
		{"[fe80::1]:80", false},
		{"[fe80::1%eth0]:80", false},
		{"[febf::1]:80", false},
		{"[::ffff:169.254.169.254]:80", false},
	}
	for _, tt := range tests {
		t.Run(tt.address, func(t *testing.T) {
			s := greeter()
			s.Nodes[1].Address = tt.address
			want := "nodes[1].address"
			if tt.ok {
				want = ""
			}
			if got := field(t, s.Validate()); got != want {
				t.Errorf("Validate() of address %q: field = %q, want %q", tt.address, got, want)
			}
		})
	}
}

func TestFieldError(t *testing.T) {
	s := greeter()
	s.Nodes[0].Address = "10.0.0.1"
	want := `registry: nodes[0].address: "10.0.0.1" is not host:port`
	if got := s.Validate().Error(); got != want {
		t.Errorf("Validate() = %s, want %s", got, want)
	}
}

func TestServiceCopy(t *testing.T) {
	s := decode(t, capture(t, "v6-greeter.json"))
	c := s.Copy()
	if !reflect.DeepEqual(c, s) {
		t.Fatalf("Copy() =\n%s, want\n%s", encode(t, c), encode(t, s))
	}
	before := string(encode(t, s))
	c.Nodes[0].Metadata["protocol"] = "grpc"
	c.Nodes[0].Address = "127.0.0.1:1"
	c.Endpoints[1].Metadata["path"] = "/"
	c.Endpoints[1].Request.Values[3].Values[0].Name = "other"
	c.Endpoints[0] = nil
	if after := string(encode(t, s)); after != before {
		t.Errorf("a change to the copy made the service\n%s, want\n%s", after, before)
	}
}

// greeter returns a valid service with two nodes.
func greeter() *registry.Service {
	return &registry.Service{
		Name:      "greeter",
		Version:   "1.0.0",
		Metadata:  map[string]string{"team": "blue"},
		Endpoints: []*registry.Endpoint{{Name: "Greeter.Hello", Metadata: map[string]string{"path": "/hello"}}},
		Nodes: []*registry.Node{
			{ID: "greeter-1", Address: "127.0.0.1:9091", Metadata: map[string]string{"protocol": "mucp"}},
			{ID: "greeter-2", Address: "127.0.0.1:9092"},
		},
	}
}

// field returns the field of a FieldError, or "" for nil.
func field(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*registry.FieldError](err)
	if !ok {
		t.Fatalf("error = %v, want a FieldError", err)
	}
	return e.Field
}
