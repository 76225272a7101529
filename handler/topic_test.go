package handler_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
)

func TestEventTopics(t *testing.T) {
	tests := []struct {
		namespace, path string
		topic, name     string // none: 400
	}{
		{"", "/user", "user", ""},
		{"", "/user/login", "user", "login"},
		{"", "/user/login/", "user", "login"},
		{"", "/user/login/again", "user", "login.again"},
		{"go.micro.evt", "/user/login", "go.micro.evt.user", "login"},
		{"go.micro.evt.", "/user/login", "go.micro.evt.user", "login"},
		{"go.micro.evt", "/", "go.micro.evt", "event"},
		{"go.micro.evt", "", "go.micro.evt", "event"},
		{"ns", "/v1/foo/bar", "ns.v1.foo", "foo.bar"},
		{"ns", "/v1/foo", "ns.v1.foo", "foo"},
		{"ns", "/v12", "ns.v12", ""},
		{"ns", "/v/foo/bar", "ns.v", "foo.bar"},
		{"ns", "/v1a/foo/bar", "ns.v1a", "foo.bar"},
		{"ns", "/V1/foo/bar", "ns.V1", "foo.bar"},
		{"ns", "/%76%31/foo/bar", "ns.v1.foo", "foo.bar"},
		{"", "/orders.created", "orders.created", ""},
		{"", "/%C3%BCber/%F0%9F%98%80", "über", "😀"},
		{"", "/a%2Fb/c%2Fd", "a/b", "c/d"},
		{"", "/a/%2A", "a", "*"},
		{"", "/a%252Fb", "a%2Fb", ""},
		{"", "/a/.b/...", "a", ".b...."},
		{namespace: "", path: "/"},
		{namespace: "ns", path: "//user"},
		{namespace: "ns", path: "/user//login"},
		{namespace: "ns", path: "/user//"},
		{namespace: "ns", path: "/*"},
		{namespace: "ns", path: "/%2A"},
		{namespace: "ns", path: "/%3E"},
		{namespace: "ns", path: "/a.%3E"},
		{namespace: "ns", path: "/a%23"},
		{namespace: "ns", path: "/a+b"},
		{namespace: "ns", path: "/a%20b"},
		{namespace: "ns", path: "/a%E3%80%80b"},
		{namespace: "ns", path: "/a%0Ab"},
		{namespace: "ns", path: "/a%00"},
		{namespace: "ns", path: "/."},
		{namespace: "ns", path: "/.."},
		{namespace: "ns", path: "/%2e%2e/admin"},
		{namespace: "", path: "/a/."},
		{namespace: "", path: "/a/.."},
		{namespace: "", path: "/a/./b"},
		{namespace: "", path: "/a/../b"},
		{namespace: "", path: "/a/../"},
		{namespace: "", path: "/v1/a/.."},
		{namespace: "", path: "/a/%2e%2E/b"},
		{namespace: "ns", path: "/.a"},
		{namespace: "ns", path: "/a."},
		{namespace: "ns", path: "/a..b"},
		{namespace: "ns", path: "/%FF"},
		{namespace: "ns", path: "/a/%FF"},
		{namespace: "", path: "/$SYS"},
		{namespace: "", path: "/$JS.API"},
		{namespace: "ns", path: "/" + strings.Repeat("a", broker.MaxTopic)},
		{namespace: "*", path: "/a"},
	}
	for _, tt := range tests {
		t.Run(tt.namespace+tt.path, func(t *testing.T) {
			b := new(tap)
			h := handler.Event(b, &handler.EventOptions{Publish: handler.PublishOptions{Namespace: tt.namespace}})
			w := postEvent(http.StripPrefix("/events", h), "/events"+tt.path, "x")
			if tt.topic == "" {
				wantError(t, w, http.StatusBadRequest, "")
				if len(b.came) > 0 {
					t.Errorf("it was published on %q", b.came[0].Topic)
				}
				return
			}
			acceptedID(t, w)
			d := b.only(t)
			if e := eventOf(t, d); d.Topic != tt.topic || e.GetName() != tt.name {
				t.Errorf("topic and name = %q, %q, want %q, %q", d.Topic, e.GetName(), tt.topic, tt.name)
			}
		})
	}
}

// TestEventTopicOfEndpoint serves a route whose endpoint names the topic.
func TestEventTopicOfEndpoint(t *testing.T) {
	options := func(allow ...string) handler.PublishOptions {
		return handler.PublishOptions{Namespace: "ns", Topics: allow}
	}
	rt := &goapi.Route{Service: "users", Endpoint: &goapi.Endpoint{Name: "Users.Signup", Handler: "event", Topic: "users.signup"}}
	b := new(tap)
	acceptedID(t, postEvent(goapi.With(rt, handler.Event(b, &handler.EventOptions{Publish: options("users.*")})), "/a/b", "x"))
	if d := b.only(t); d.Topic != "users.signup" || eventOf(t, d).GetName() != "Users.Signup" {
		t.Errorf("message on %q is %s, want Users.Signup on users.signup", d.Topic, d.Body)
	}
	for name, h := range map[string]http.Handler{
		"event":       handler.Event(b, &handler.EventOptions{Publish: options("others.**")}),
		"cloudevents": handler.CloudEvents(b, &handler.CloudEventsOptions{Publish: options("others.**")}),
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, postEvent(goapi.With(rt, h), "/a/b", "x"), http.StatusForbidden, `"users.signup" is not allowed`)
		})
	}
	wild := &goapi.Route{Service: "users", Endpoint: &goapi.Endpoint{Name: "Users.Signup", Topic: "users.>"}}
	wantError(t, postEvent(goapi.With(wild, handler.Event(b, nil)), "/a/b", "x"), http.StatusBadRequest, "wildcard")
	plain := &goapi.Route{Service: "users", Endpoint: &goapi.Endpoint{Name: "Users.Signup"}}
	acceptedID(t, postEvent(goapi.With(plain, handler.Event(b, nil)), "/a/b", "x"))
	if got := b.came[1].Topic; got != "a" {
		t.Errorf("topic of an endpoint without one = %q, want that of the path", got)
	}
}

func TestEventTopicOption(t *testing.T) {
	topic := func(r *http.Request) (topic, name string, err error) {
		if r.Header.Get("X-Topic") == "" {
			return "", "", goapi.NewError(http.StatusTeapot, "no topic", nil)
		}
		return r.Header.Get("X-Topic"), "named", nil
	}
	b := new(tap)
	h := handler.Event(b, &handler.EventOptions{Publish: handler.PublishOptions{Topic: topic, Topics: []string{"a", "b.**"}}})
	acceptedID(t, postEvent(h, "/other", "x", "X-Topic", "b.c"))
	if d := b.only(t); d.Topic != "b.c" || eventOf(t, d).GetName() != "named" {
		t.Errorf("message on %q is %s, want named on b.c", d.Topic, d.Body)
	}
	wantError(t, postEvent(h, "/", "x", "X-Topic", "b"), http.StatusForbidden, `"b" is not allowed`)
	wantError(t, postEvent(h, "/", "x", "X-Topic", "b.*"), http.StatusBadRequest, "wildcard")
	wantError(t, postEvent(h, "/", "x"), http.StatusTeapot, "no topic")
}

// FuzzEventTopic sends any path: it is published on a topic that messages can
// have, which begins with the namespace and says what the path says, or not at
// all.
func FuzzEventTopic(f *testing.F) {
	for _, path := range []string{"/", "/a/b", "/v1/a/b", "/a%2Fb", "/%2A", "/a.>", "/..", "//", "/%FF", "/ü", "/a/", "/%e3%80%80"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x"))
		r.URL = u
		r.URL.Scheme, r.URL.Host, r.URL.User, r.URL.RawQuery, r.URL.Opaque = "", "", nil, "", ""
		b := new(tap)
		w := httptest.NewRecorder()
		handler.Event(b, &handler.EventOptions{Publish: handler.PublishOptions{Namespace: "ns"}}).ServeHTTP(w, r)
		switch {
		case w.Code == http.StatusBadRequest && len(b.came) == 0:
			return
		case w.Code != http.StatusAccepted || len(b.came) != 1:
			t.Fatalf("POST %q = %d with %d messages, want 202 with one or 400 with none", path, w.Code, len(b.came))
		}
		if words := strings.Split(u.Path, "/"); u.RawPath == "" && (slices.Contains(words, ".") || slices.Contains(words, "..")) {
			t.Fatalf("POST %q is published, want 400: it leads elsewhere", path)
		}
		topic := b.came[0].Topic
		if err := broker.CheckTopic(topic); err != nil {
			t.Fatalf("POST %q: %v", path, err)
		}
		rest, ok := strings.CutPrefix(topic, "ns.")
		words := strings.Split(strings.Trim(u.Path, "/"), "/")
		if !ok && (topic != "ns" || strings.Trim(u.Path, "/") != "") {
			t.Fatalf("POST %q: topic %q is not below ns", path, topic)
		}
		if ok && u.RawPath == "" && rest != words[0] && rest != strings.Join(words[:min(2, len(words))], ".") {
			t.Fatalf("POST %q: topic %q does not say what the path says", path, topic)
		}
	})
}
