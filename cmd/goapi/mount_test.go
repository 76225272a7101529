package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/middleware"
)

func TestParseMounts(t *testing.T) {
	tests := []struct {
		mounts string // split at spaces
		want   string // in the error; "" for none
	}{
		{"/events=event /cloudevents=cloudevents /broker=broker", ""},
		{"/a/b=event?namespace=go.micro.evt&format=protobuf", ""},
		{"/ce=cloudevents?format=binary&webhook_origin=a.example&webhook_origin=b.example&webhook_rate=60", ""},
		{"/broker=broker?group=web.*", ""},
		{"/events=event?allow_header=X-Tenant&allow_header=Authorization&deny_header=user-agent", ""},
		{"/ce=cloudevents?deny_header=User-Agent /broker=broker?allow_header=X-Tenant", ""},
		{"/events=event?allow_header=X-Tenant,X-Other", "repeat the option"},
		{"/events=event?deny_header=", "the name of a header"},
		{"events=event", "PATH=HANDLER"},
		{"/=event", "PATH=HANDLER"},
		{"/events/=event", "PATH=HANDLER"},
		{"/a//b=event", "PATH=HANDLER"},
		{"/events", "PATH=HANDLER"},
		{"/events=rpc", `no handler "rpc"; want event, cloudevents or broker`},
		{"/events=event?namespce=x", "namespace, format"},
		{"/events=event?format=xml", "json or protobuf"},
		{"/ce=cloudevents?format=protobuf", "json, structured or binary"},
		{"/ce=cloudevents?webhook_rate=0", "webhook_rate"},
		{"/events=event?%zz", "malformed options"},
		{"/events=event /events=broker", "twice"},
	}
	for _, tt := range tests {
		_, err := parseMounts(strings.Fields(tt.mounts))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("parseMounts(%q) error = %v, want %q", tt.mounts, err, tt.want)
		}
	}
}

func TestWithMounts(t *testing.T) {
	says := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name, " ", r.URL.EscapedPath()) })
	}
	h := withMounts([]mounted{{admin.Mount{Path: "/a"}, says("short")}, {admin.Mount{Path: "/a/b"}, says("long")}}, bare, says("routes"))
	for path, want := range map[string]string{
		"/a":        "short ",
		"/a/":       "short /",
		"/a/x%2Fy":  "short /x%2Fy",
		"/a/b":      "long ",
		"/a/b/c":    "long /c",
		"/a/bc":     "short /bc",
		"/ab":       "routes /ab",
		"/":         "routes /",
		"/%61/b":    "routes /%61/b", // a path is what was received
		"/x/../a/b": "routes /x/../a/b",
	} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Body.String(); got != want {
			t.Errorf("%s is served by %q, want %q", path, got, want)
		}
	}
}

func TestBrokerURL(t *testing.T) {
	tests := []struct {
		broker     string
		registries []string
		want       string
		embedded   bool
	}{
		{"", []string{"embedded:"}, "embedded:", true},
		{"", []string{"nats://10.0.0.1:4222"}, "", false},
		{"", []string{"nats://10.0.0.1:4222", "embedded:?bucket=b"}, "embedded:", true},
		{"off", []string{"embedded:"}, "", true},
		{"embedded:", []string{"memory:"}, "embedded:", true},
		{"embedded+micro:", []string{"memory:"}, "embedded+micro:", true},
		{"nats://10.0.0.1:4222", []string{"memory:"}, "nats://10.0.0.1:4222", false},
	}
	for _, tt := range tests {
		c := settings{broker: tt.broker, registries: tt.registries}
		if got := c.brokerURL(); got != tt.want || c.embedded() != tt.embedded {
			t.Errorf("--broker %q --registry %v = %q, embedded %v; want %q, %v", tt.broker, tt.registries, got, c.embedded(), tt.want, tt.embedded)
		}
	}
}

// TestMountHeaders publishes through mounts that say which headers are published.
func TestMountHeaders(t *testing.T) {
	for mount, want := range map[string]string{
		"/e=event":                                  "X-A X-B",
		"/e=event?deny_header=x-a":                  "X-B",
		"/e=event?allow_header=X-A":                 "X-A",
		"/e=event?allow_header=Authorization":       "Authorization",
		"/e=cloudevents?deny_header=X-A":            "X-B",
		"/e=broker?deny_header=X-B":                 "X-A",
		"/e=event?allow_header=X-A&deny_header=X-A": "",
	} {
		t.Run(mount, func(t *testing.T) {
			m, err := parseMount(mount)
			if err != nil {
				t.Fatal(err)
			}
			b := new(broker.Memory)
			sub, err := b.Subscribe(t.Context(), "orders", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Close()
			g := &gateway{cfg: settings{publish: []string{"orders"}}}
			r := httptest.NewRequest(http.MethodPost, "/orders/placed?topic=orders", strings.NewReader("{}"))
			for _, name := range []string{"X-A", "X-B", "Authorization"} {
				r.Header.Set(name, "1")
			}
			w := httptest.NewRecorder()
			g.mountHandler(m, b).ServeHTTP(w, r)
			if w.Code != http.StatusAccepted {
				t.Fatalf("status = %d %s, want 202", w.Code, w.Body)
			}
			d, err := sub.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, name := range []string{"Authorization", "X-A", "X-B"} {
				if strings.Contains(string(d.Body), `"`+name+`"`) || d.Header[name] != "" {
					got = append(got, name)
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("published are %q, want %q: %v %s", got, want, d.Header, d.Body)
			}
		})
	}
}

// bare lays nothing around a handler.
func bare(_ *goapi.Route, h http.Handler) http.Handler { return h }

// TestPoliciesOfMounts: a pattern protects a mount as it does a route.
func TestPoliciesOfMounts(t *testing.T) {
	file, err := config.Parse("goapi.yaml", []byte("patterns: [{match: /events/**, deny: [192.0.2.0/24]}]"), noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	policies, err := config.New(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	ok := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.URL.Path)) })
	h := middleware.Client(nil)(withMounts([]mounted{{admin.Mount{Path: "/events", Handler: "event"}, ok}}, policies.Wrap, ok))
	for path, want := range map[string]int{"/events/orders": http.StatusForbidden, "/events": http.StatusForbidden, "/other": http.StatusOK} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil)) // from 192.0.2.1
		if w.Code != want {
			t.Errorf("POST %s = %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
}
