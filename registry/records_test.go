package registry_test

import (
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

func TestRecordsGroups(t *testing.T) {
	var r registry.Records
	for k, v := range map[string]string{
		"b": `{"name":"x","version":"1","nodes":[{"id":"n2","address":"10.0.0.1","port":80}]}`,
		"a": `{"name":"x","version":"1","endpoints":[],"nodes":[{"id":"n1","address":"10.0.0.1:80"}]}`,
		"c": `{"name":"x","version":"1","endpoints":[{"name":"A.B"}],"nodes":[{"id":"n3","address":"10.0.0.1:80"}]}`,
	} {
		if err := r.Put(k, []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range r.Services() {
		t.Log(s.Name, s.Version, len(s.Endpoints), len(s.Nodes), s.Nodes[0])
	}
}
