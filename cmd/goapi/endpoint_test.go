package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

func TestIgnored(t *testing.T) {
	s := &registry.Service{
		Name: "hello", Version: "1",
		Nodes:     []*registry.Node{{ID: "hello-1", Address: "127.0.0.1:9", Metadata: map[string]string{"weight": "heavy"}}},
		Endpoints: []*registry.Endpoint{{Name: "Bad", Metadata: map[string]string{"handler": "http", "path": "/{"}}},
	}
	text := strings.Join(ignored(s), "\n")
	for _, want := range []string{"heavy", "/{"} {
		if !strings.Contains(text, want) {
			t.Errorf("ignored = %q, want something of %q", text, want)
		}
	}
	s.Nodes[0].Metadata["weight"], s.Endpoints[0].Metadata["path"] = "3", "/hello"
	if got := ignored(s); len(got) != 0 {
		t.Errorf("ignored = %q, want nothing", got)
	}
}

// TestEndpointKeys: whoever writes an endpoint by hand can give it all that the
// documents list.
func TestEndpointKeys(t *testing.T) {
	for file, head := range map[string]string{
		"../../README.md":      "An endpoint's metadata makes its route:",
		"../../docs/events.md": "A service gets a topic's messages by announcing",
	} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, found := strings.Cut(string(data), head)
		_, table, _ := strings.Cut(rest, "|---|---|\n")
		table, _, _ = strings.Cut(table, "\n\n")
		if !found || table == "" {
			t.Errorf("%s has no table below %q", file, head)
		}
		for row := range strings.SplitSeq(table, "\n") {
			for i, key := range strings.Split(strings.Split(row+"||", "|")[1], "`") {
				if i%2 == 1 && !slices.Contains(endpointKeys(), key) {
					t.Errorf("%s lists %q, which --endpoint does not take", file, key)
				}
			}
		}
	}
}

// TestConsulKeys: the section about Consul lists all that an endpoint takes.
func TestConsulKeys(t *testing.T) {
	data, err := os.ReadFile("../../docs/registries.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "## Plain services in Consul")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, key := range endpointKeys() {
		if !strings.Contains(section, "`"+key+"`") {
			t.Errorf("docs/registries.md does not list the key %q of an endpoint in Consul", key)
		}
	}
}
