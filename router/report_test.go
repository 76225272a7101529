package router_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
)

func TestLeftOut(t *testing.T) {
	tests := []struct {
		name, endpoint, want string // want is part of the reason; "" is no report
	}{
		{"good", "path=/a", ""},
		{"no path", "name=A.B", ""},
		{"rpc without a path", "handler=rpc", ""},
		{"empty values", "handler=;path=;host=;method=", ""},
		{"subscriber", "subscriber=true;path=/a/[", ""},
		{"no handler", "path=/a;handler=", "it has a path but no handler; the gateway has rpc, http, api, web"},
		{"no path for the handler", "handler=http", "a handler but no path"},
		{"unknown handler", "path=/a;handler=meta", `the gateway has no handler "meta", only rpc, http, api, web`},
		{"handler of mounts", "path=/a;handler=registry", "serves mounts only"},
		{"other handler of mounts", "path=/a;handler=broker", "serves mounts only"},
		{"nothing to strip", "path=/a;handler=http;strip=a", `strip "a": no path begins with it`},
		{"bad template", "path=/a/{", `has no "}"`},
		{"one bad template", "path=/b,/a/{", `has no "}"`},
		{"half expression", "path=^/a", `does not end with "$"`},
		{"host that is an expression", "path=/a;host=^foo$", `the host "^foo$" is not a name`},
		{"wildcard within", "path=/a;host=a.*.example.com", "is not a name"},
		{"bad method", "path=/a;method=*", "is not a method; for any, announce none"},
		{"CONNECT", "path=/a;method=connect", "CONNECT is never routed"},
		{"no name", "name=;path=/a", "its name is empty"},
		{"control characters in the name", "name=a\nb;path=/a", "not printable"},
		{"long name", "name=" + strings.Repeat("a", 300) + ";path=/a", "too long"},
		{"megabytes", "path=/a;x=" + strings.Repeat("x", 2<<20), "its metadata has 2097"},
		{"combinations", "path=" + strings.Repeat("/a,", 120) + "/b;host=" + strings.Repeat("a,", 120) + "b", "more than 10000 patterns, counted for each host and method"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table, reports := newTable(nil).Next([]*registry.Service{
				service("other", "path=/other"), service("s", tt.endpoint, "name=Z;path=/z"),
			})
			for _, path := range []string{"/other", "/z"} {
				if _, err := table.Route(get(path)); err != nil {
					t.Errorf("Route(%s) error = %v: a neighbour is hurt", path, err)
				}
			}
			if !slices.Equal(reports, table.Reports()) {
				t.Errorf("Next returns %v, Reports %v", reports, table.Reports())
			}
			if tt.want == "" {
				if len(reports) > 0 {
					t.Fatalf("reports = %v, want none", reports)
				}
				return
			}
			if len(reports) != 1 || reports[0].Service != "s" || reports[0].Kind != router.LeftOut ||
				!strings.Contains(reports[0].Reason, tt.want) {
				t.Fatalf("reports = %v, want one of s: %s", reports, tt.want)
			}
			if n := len(reports[0].String()); n > 1000 || strings.Contains(reports[0].String(), "\n") {
				t.Errorf("the report has %d bytes, or several lines", n)
			}
		})
	}
}

func TestBadNodes(t *testing.T) {
	s := service("s", "path=/a")
	s.Nodes = []*registry.Node{
		nil,
		{ID: "good", Address: "127.0.0.1:80"},
		{ID: "good", Address: "127.0.0.1:81"},
		{ID: "six", Address: "[::1]:80"},
		{ID: "name", Address: "host-1.example.com:80"},
		{ID: "broker", Address: "127.0.0.1:82", Metadata: map[string]string{"broker": "http", "topic": "x"}},
		{ID: "service", Address: "127.0.0.1:82", Metadata: map[string]string{"broker": "http", "protocol": "mucp"}},
		{ID: "", Address: "127.0.0.1:80"},
		{ID: "none"},
		{ID: "portless", Address: "127.0.0.1"},
		{ID: "zero", Address: "127.0.0.1:0"},
		{ID: "big", Address: "127.0.0.1:65536"},
		{ID: "hostless", Address: ":80"},
		{ID: "url", Address: "http://x:80"},
		{ID: "metadata", Address: "169.254.169.254:80"},
		{ID: "userinfo", Address: "a@b:80"},
	}
	table, reports := newTable(nil).Next([]*registry.Service{s})
	rt, err := table.Route(get("/a"))
	if err != nil {
		t.Fatal(err)
	}
	if got := nodeIDs(rt.Upstream); got != "good name service six" {
		t.Errorf("nodes %q, want good name service six", got)
	}
	var got []string
	for _, r := range reports {
		got = append(got, r.Node+": "+r.Reason)
	}
	want := []string{
		": id: a node needs an id", "big: address: ", "good: another node has the same id", "hostless: address: ", "metadata: address: ", "none: address: ",
		"portless: address: ", "url: address: ", "userinfo: address: ", "zero: address: ",
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("reports =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	all := *s
	all.Nodes = s.Nodes[5:6]
	table, reports = table.Next([]*registry.Service{&all})
	if _, err := table.Route(get("/a")); err == nil || len(reports) != 0 {
		t.Errorf("with nothing but a subscription, Route error = %v, reports %v", err, reports)
	}
}

// FuzzValidated: a registry takes no name, id or address that is then left out.
func FuzzValidated(f *testing.F) {
	f.Add("s", "s-1", "127.0.0.1:80")
	f.Add("a/b ö", "x y", "node_1.example.:65535")
	f.Add("a\u202eb", "\u200b", "*:80")
	f.Add("\ufffd", "a\xff", "[::1%eth0]:1")
	f.Add(strings.Repeat("n", 256), strings.Repeat("i", 256), strings.Repeat("a", 253)+":80")
	f.Fuzz(func(t *testing.T, name, id, address string) {
		s := service("s", "path=/a")
		s.Name, s.Nodes = name, []*registry.Node{{ID: id, Address: address}}
		if s.Validate() != nil {
			return
		}
		if reports := router.Check(s, nil); len(reports) > 0 {
			t.Errorf("%q, node %q at %q may be registered, and: %v", name, id, address, reports)
		}
	})
}

// TestMegabytes: metadata out of all proportion is not used.
func TestMegabytes(t *testing.T) {
	much := map[string]string{"x": strings.Repeat("x", 1<<20)}
	s, other := service("s", "path=/a"), service("other", "path=/b")
	s.Metadata = much
	s.Nodes = append(nodes("much", strings.Repeat("i", 300), "far"), s.Nodes...)
	s.Nodes[0].Metadata = much
	s.Nodes[2].Address = strings.Repeat("a.", 200) + "a:80"
	table, reports := newTable(nil).Next([]*registry.Service{other, s})
	for path, want := range map[string]string{"/a": "s-1", "/b": "other-1"} {
		if rt, err := table.Route(get(path)); err != nil || nodeIDs(rt.Upstream) != want {
			t.Errorf("Route(%s) = %v, %v, want the node %s", path, rt, err, want)
		}
	}
	var got []string
	for _, r := range reports {
		got = append(got, clipped(r.Node)+": "+r.Reason)
	}
	want := []string{
		": its metadata, which is not used, has 1048577 bytes, more than 65536",
		"far: address: it is 404 bytes long, more than 255",
		"iiii: id: it is 300 bytes long, more than 255",
		"much: its metadata has 1048577 bytes, more than 65536",
	}
	if !slices.Equal(got, want) {
		t.Errorf("reports =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func clipped(id string) string { return id[:min(len(id), 4)] }

func TestBadServices(t *testing.T) {
	table, reports := newTable(nil).Next([]*registry.Service{
		service("", "path=/a"),
		service("a\x00b", "path=/b"),
		service(strings.Repeat("x", 300), "path=/c"),
		service("good", "path=/d"),
	})
	if len(reports) != 3 {
		t.Errorf("reports = %v, want 3", reports)
	}
	for _, path := range []string{"/a", "/b", "/c"} {
		if rt, err := table.Route(get(path)); err == nil {
			t.Errorf("Route(%s) = %v, want none", path, rt)
		}
	}
	if table, reports = table.Next(nil); len(reports) != 0 || len(table.Reports()) != 0 {
		t.Errorf("without services, reports = %v, %v", reports, table.Reports())
	}
}

// TestTooMuch: what is beyond the bounds is left out; a few lines say so.
func TestTooMuch(t *testing.T) {
	var many, exprs, bad []string
	for i := range 10_050 {
		many = append(many, fmt.Sprintf("name=E%d;path=/e%d", i, i))
	}
	for i := range 300 {
		exprs = append(exprs, fmt.Sprintf("name=X%d;path=^/x%d$", i, i))
		bad = append(bad, fmt.Sprintf("name=B%d;path=/b%d/{", i, i))
	}
	second := service("many", many[10_000:]...)
	second.Nodes[0].ID = "many-2"
	table, reports := newTable(nil).Next([]*registry.Service{
		service("bad", bad...), service("exprs", exprs...), service("many", many...), second, service("z", "path=/z"),
	})
	var got []string
	for _, r := range reports {
		if r.Endpoint == "" || r.Service == "many" {
			got = append(got, r.Service+": "+r.Reason)
		}
	}
	want := []string{
		"bad: 200 more are left out or wait",
		"many: 50 endpoints beyond the first 10000",
		"many: more than 10000 patterns in all its versions",
	}
	if !slices.Equal(got, want) {
		t.Errorf("reports = %q, want %q", got, want)
	}
	if n := len(reports); n != 101+44+2 {
		t.Errorf("there are %d reports, want 147", n)
	}
	for path, ok := range map[string]bool{"/e9999": true, "/e10000": false, "/x255": true, "/x256": false, "/z": true} {
		if _, err := table.Route(get(path)); (err == nil) != ok {
			t.Errorf("Route(%s) error = %v, want found: %v", path, err, ok)
		}
	}
}

// TestCheck: who announces a service learns what is wrong with it.
func TestCheck(t *testing.T) {
	s := service("s", "path=/good", "name=H;path=/{", "name=B;path=/b;handler=broker", "name=E;path=/e;handler=own", "name=Twice;path=/good")
	s.Nodes = append(s.Nodes, &registry.Node{ID: "bad", Address: "nowhere"})
	tests := []struct {
		name     string
		handlers []string
		want     []string
	}{
		{"defaults", nil, []string{
			`node bad: left-out: address: "nowhere" is not host:port`,
			`endpoint B, path /b: left-out: handler "broker" serves mounts only, which the gateway's configuration makes`,
			`endpoint E, path /e: left-out: the gateway has no handler "own", only rpc, http, api, web`,
			`endpoint H, path /{: left-out: path "/{": a variable has no "}"`,
			`endpoint Twice, path /good: conflict: endpoint Endpoint of the same service has any method /good already`,
		}},
		{"handlers of its own", []string{"rpc", "own"}, []string{
			`node bad: left-out: address: "nowhere" is not host:port`,
			`endpoint B, path /b: left-out: handler "broker" serves mounts only, which the gateway's configuration makes`,
			`endpoint H, path /{: left-out: path "/{": a variable has no "}"`,
			`endpoint Twice, path /good: conflict: endpoint Endpoint of the same service has any method /good already`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, r := range router.Check(s, &router.Options{Handlers: tt.handlers}) {
				got = append(got, strings.TrimPrefix(r.String(), "service s, "))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("Check =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
	if got := router.Check(service("s", "path=/good"), nil); got != nil {
		t.Errorf("Check of a good service = %v, want none", got)
	}
}

func TestStatic(t *testing.T) {
	table, err := router.Static([]*registry.Service{nil, service("s", "path=/a", "name=Bad;path=/{"), service("t", "path=/a")}, nil)
	if err == nil || !strings.Contains(err.Error(), "router: service s, endpoint Bad, path /{: left-out: ") ||
		!strings.Contains(err.Error(), "router: service t, endpoint Endpoint, path /a: conflict: service s has any method /a already") {
		t.Errorf("Static error = %v, want both reports", err)
	}
	if got := pattern(table.Route(get("/a"))); got != "/a" {
		t.Errorf("Route(/a) = %s: the rest is not served", got)
	}
}
