package router_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/resolver"
	"github.com/goapi-dev/goapi/router"
)

// TestRealAnnouncements routes what services of go-micro v1.18, v2.9 and v6
// announced, and what their HTTP brokers announced beside them.
func TestRealAnnouncements(t *testing.T) {
	table, reports := newTable(&router.Options{
		Resolver: resolver.Micro, Handlers: []string{"rpc", "http", "api"},
	}).Next(realAnnouncements(t))
	tests := []struct{ method, path, want string }{ // want is service, endpoint and handler, or part of the error
		{"GET", "/greeter/hello", "greeter Greeter.Hello rpc"},
		{"POST", "/greeter/hello/", "greeter Greeter.Hello rpc"},
		{"GET", "/greeter/fail/john", "greeter Greeter.Fail rpc"},
		{"GET", "/greeter/stream", "greeter Greeter.Stream rpc"},
		{"DELETE", "/echo/any/thing", "greeter Echo.Call api"},
		{"GET", "/greeter2/hello", "greeter2 Greeter.Hello rpc"},
		{"GET", "/v2hello", "greeter2 Greeter.Hello rpc"},
		{"GET", "/echo2/x", "greeter2 Echo.Call api"},
		{"GET", "/v1hello/", "greeter1 Greeter.Hello rpc"},
		{"POST", "/greeter1/fail/john", "greeter1 Greeter.Fail rpc"},
		{"GET", "/greeter1/fail/john", "its methods are POST"},

		{"POST", "/greeter/Greeter/Slow", "greeter Greeter.Slow rpc"},
		{"POST", "/greeter/greeter/slow", "greeter Greeter.Slow rpc"},
		{"POST", "/greeter/slow", "greeter Greeter.Slow rpc"},
		{"POST", "/greeter1/greeter/count", "greeter1 Greeter.Count rpc"},
		{"POST", "/greeter2grpc/greeter/hello", "greeter2grpc Greeter.Hello rpc"},
		{"POST", "/greeter/nothing", "service greeter has no method Greeter.Nothing"},
		{"POST", "/greeter/func", "service greeter has no method Greeter.Func"},
		{"POST", "/micro/http/broker", `and no service "micro"`},
		{"POST", "/micro/http/broker/x", `and no service "micro.http" or "micro"`},
		{"POST", "/nothing/here", `and no service "nothing"`},
	}
	for _, tt := range tests {
		r := get(tt.path)
		r.Method = tt.method
		rt, err := table.Route(r)
		var got string
		if err != nil {
			got = err.Error()
		} else {
			got = rt.Service + " " + rt.Endpoint.Name + " " + rt.Endpoint.Handler
			if rt.Upstream.Len() != 1 {
				t.Errorf("Route(%s %s) has %d nodes, want 1", tt.method, tt.path, rt.Upstream.Len())
			}
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("Route(%s %s) = %s, want %s", tt.method, tt.path, got, tt.want)
		}
	}
	// The mucp and the grpc service of v2 want the same routes.
	if n := len(reports); n != 7 || slices.ContainsFunc(reports, func(r router.Report) bool {
		return r.Kind != router.Conflict || r.Service != "greeter2grpc"
	}) {
		t.Errorf("%d reports, want conflicts of greeter2grpc only: %v", n, reports)
	}
}

// realAnnouncements returns recorded announcements, in the order of a registry.
func realAnnouncements(t *testing.T) []*registry.Service {
	t.Helper()
	data, err := os.ReadFile("testdata/announcements.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var records registry.Records
	for i, line := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
		if !json.Valid(line) {
			t.Fatalf("line %d is no JSON", i+1)
		}
		if err := records.Put(string(rune('a'+i)), line); err != nil {
			t.Fatal(err)
		}
	}
	return records.Services()
}
