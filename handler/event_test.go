package handler_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/micro"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/proto"
)

func TestEvent(t *testing.T) {
	tests := []struct {
		method, target, body string
		data                 string
	}{
		{"POST", "/user/login", `{"a":"<b>&\u2028"}`, `{"a":"<b>&\u2028"}`},
		{"POST", "/user/login", "", ""},
		{"POST", "/user/login?a=1", "text ü", "text ü"},
		{"PUT", "/user/login", "x", "x"},
		{"PATCH", "/user/login", "x", "x"},
		{"DELETE", "/user/login", "x", "x"},
		{"OPTIONS", "/user/login", "x", "x"},
		{"BREW", "/user/login", "x", "x"},
		{"GET", "/user/login", "", "{}"},
		{"GET", "/user/login?b=2&a=1&a=3&c", "not read", `{"a":["1","3"],"b":["2"],"c":[""]}`},
		{"HEAD", "/user/login?a=%3Cb%3E", "", `{"a":["<b>"]}`},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			b := new(tap)
			start := time.Now().Truncate(time.Second)
			w := sendEvent(handler.Event(b, nil), tt.method, tt.target, tt.body, "Content-Type", "text/plain", "X-Many", "a", "X-Many", "b")
			d := b.only(t)
			if w.Code != http.StatusAccepted || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("answer = %d %v, want 202 with JSON", w.Code, w.Header())
			}
			if want := `{"id":"` + d.ID + "\"}\n"; tt.method != "HEAD" && w.Body.String() != want {
				t.Errorf("answer = %s, want %s", w.Body, want)
			}
			e := eventOf(t, d)
			made := time.Unix(e.GetTimestamp(), 0)
			if made.Before(start) || made.After(time.Now()) || d.Time.Unix() != e.GetTimestamp() {
				t.Errorf("timestamp = %v, time = %v, want now", made, d.Time)
			}
			header := e.GetHeader()
			e.Timestamp, e.Header = 0, nil
			want := &proto.Event{Name: "login", Id: d.ID, Data: tt.data}
			if diff := cmp.Diff(want, e, protocmp.Transform()); diff != "" {
				t.Errorf("event (-want +got)\n%s", diff)
			}
			if got := header["X-Many"]; got.GetKey() != "X-Many" || !slices.Equal(got.GetValues(), []string{"a", "b"}) {
				t.Errorf("X-Many = %v, want a and b", got)
			}
			if got := header["Content-Type"].GetValues(); !slices.Equal(got, []string{"text/plain"}) {
				t.Errorf("Content-Type in the event = %q, want that of the body", got)
			}
			if got := d.Header; got["Content-Type"] != "application/json" || got["X-Many"] != "a, b" {
				t.Errorf("header of the message = %v, want its own Content-Type, and X-Many", got)
			}
		})
	}
}

// TestEventEncodings publishes one event in JSON and as protobuf.
func TestEventEncodings(t *testing.T) {
	b := new(tap)
	header := []string{"Content-Type", "application/json", "X-Text", "<ü>", "Idempotency-Key", "k"}
	postEvent(handler.Event(b, nil), "/user/login", `{"a":1}`, header...)
	var events []*proto.Event
	events = append(events, eventOf(t, b.only(t)))
	b = new(tap)
	postEvent(handler.Event(b, &handler.EventOptions{Protobuf: true}), "/user/login", `{"a":1}`, header...)
	d := b.only(t)
	e := new(proto.Event)
	if err := protobuf.Unmarshal(d.Body, e); err != nil || d.Header["Content-Type"] != "application/protobuf" {
		t.Fatalf("message of %s: %v", d.Header["Content-Type"], err)
	}
	events = append(events, e)
	events[0].Timestamp, events[1].Timestamp = 0, 0
	if diff := cmp.Diff(events[0], events[1], protocmp.Transform()); diff != "" {
		t.Errorf("event (-JSON +protobuf)\n%s", diff)
	}
}

// TestEventOnTheWire compares what a subscriber of go-micro gets with what one
// got, and understood.
func TestEventOnTheWire(t *testing.T) {
	type envelope struct {
		Header map[string]string
		Body   []byte
	}
	read := func(data []byte) (env envelope, e *proto.Event) {
		t.Helper()
		e = new(proto.Event)
		if err := json.Unmarshal(data, &env); err != nil {
			t.Fatal(err)
		}
		if err := protobuf.Unmarshal(env.Body, e); err != nil {
			t.Fatal(err)
		}
		return env, e
	}
	captured, err := os.ReadFile(filepath.Join("testdata", "events", "nats-handmade-event.json"))
	if err != nil {
		t.Fatal(err)
	}
	wantEnv, want := read(captured)
	if want.GetName() != "login" || want.GetData() != `{"a":1}` {
		t.Fatalf("the capture is of %v", want)
	}

	b := new(tap)
	h := handler.Event(b, &handler.EventOptions{Protobuf: true, Publish: handler.PublishOptions{
		Namespace: "greeter", Header: handler.BrokerHeader{Allow: []string{"content-type"}},
	}})
	acceptedID(t, postEvent(h, "/event/login", `{"a":1}`, "Content-Type", "application/json", "Micro-Topic", "other", "Micro-Id", "other"))
	d := b.receive(t, "greeter.event", 1)[0]
	data, err := micro.Marshal(d.Topic, &d.Message)
	if err != nil {
		t.Fatal(err)
	}
	gotEnv, got := read(data)
	if got.GetId() != gotEnv.Header["Micro-Id"] || got.GetId() != d.ID {
		t.Errorf("ID of the event = %q, of the message %q, %q, want one", got.GetId(), d.ID, gotEnv.Header["Micro-Id"])
	}
	got.Id, got.Timestamp = want.GetId(), want.GetTimestamp()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("event (-captured +got)\n%s", diff)
	}
	delete(gotEnv.Header, "Goapi-Mark")
	gotEnv.Header["Micro-Id"] = wantEnv.Header["Micro-Id"]
	if diff := cmp.Diff(wantEnv.Header, gotEnv.Header); diff != "" {
		t.Errorf("header (-captured +got)\n%s", diff)
	}
}

// TestEventAsV6PublishesIt has the names in the header that go-micro's own
// publisher has, but for the case of one letter.
func TestEventAsV6PublishesIt(t *testing.T) {
	captured, err := os.ReadFile(filepath.Join("testdata", "events", "nats-v6-publish-json.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct{ Header map[string]string }
	for line := range bytes.Lines(captured) {
		if bytes.HasPrefix(line, []byte(`{"Header"`)) {
			if err := json.Unmarshal(line, &want); err != nil {
				t.Fatal(err)
			}
		}
	}
	b := new(tap)
	h := handler.Event(b, &handler.EventOptions{Publish: handler.PublishOptions{
		Header: handler.BrokerHeader{Allow: []string{"Trace"}},
	}})
	acceptedID(t, postEvent(h, "/greeter.hello", "{}", "Trace", "t1"))
	d := b.only(t)
	data, err := micro.Marshal(d.Topic, &d.Message)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Header map[string]string }
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for name, value := range want.Header {
		have := got.Header[http.CanonicalHeaderKey(name)]
		if have != value && name != "Micro-ID" || have == "" {
			t.Errorf("%s = %q, want as in the capture: %q", name, have, value)
		}
	}
}

func TestEventHeaders(t *testing.T) {
	credentials := []string{"Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "X-Auth-Token"}
	never := []string{"Connection", "Keep-Alive", "Proxy-Authorization", "Te", "Upgrade", "X-Hop", "Micro-Topic", "Micro-Endpoint", "X-Micro-Id"}
	tests := []struct {
		name   string
		header handler.BrokerHeader
		want   []string
	}{
		{"default", handler.BrokerHeader{}, []string{"Accept", "X-A", "X-B"}},
		{"allowed", handler.BrokerHeader{Allow: []string{"x-a", "authorization"}}, []string{"Authorization", "X-A"}},
		{"denied", handler.BrokerHeader{Deny: []string{"x-a"}}, []string{"Accept", "X-B"}},
		{"allowed and denied", handler.BrokerHeader{Allow: []string{"X-A", "X-B"}, Deny: []string{"X-A"}}, []string{"X-B"}},
		{"allowed though never", handler.BrokerHeader{Allow: never}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := new(tap)
			header := []string{"Accept", "1", "X-A", "1", "X-B", "1", "Connection", "X-Hop"}
			for _, name := range slices.Concat(credentials, never[1:]) {
				header = append(header, name, "1")
			}
			h := handler.Event(b, &handler.EventOptions{Publish: handler.PublishOptions{Header: tt.header}})
			acceptedID(t, postEvent(h, "/a", "x", header...))
			d := b.only(t)
			if got := slices.Sorted(maps.Keys(eventOf(t, d).GetHeader())); !slices.Equal(got, tt.want) {
				t.Errorf("headers of the event = %q, want %q", got, tt.want)
			}
			delete(d.Header, "Content-Type")
			want := slices.DeleteFunc(tt.want, func(name string) bool { return name == "Accept" }) // which is about the request
			if got := slices.Sorted(maps.Keys(d.Header)); !slices.Equal(got, want) {
				t.Errorf("headers of the message = %q, want %q", got, want)
			}
		})
	}
}

func TestEventRefuses(t *testing.T) {
	cookies := strings.Repeat("x", 70_000)
	limits := &handler.EventOptions{Publish: handler.PublishOptions{MaxBody: 10}}
	tests := []struct {
		name           string
		opts           *handler.EventOptions
		method, target string
		body           string
		header         []string
		status         int
		detail         string
	}{
		{"body not UTF-8", nil, "POST", "/a", "\xff", nil, 415, "cloudevents"},
		{"header not UTF-8", nil, "POST", "/a", "x", []string{"X-A", "\xff"}, 415, "header X-A"},
		{"name not UTF-8", nil, "POST", "/a/%FF", "x", nil, 400, "UTF-8"},
		{"query not UTF-8", nil, "GET", "/a?a=%FF", "", nil, 400, "UTF-8"},
		{"query with a bad escape", nil, "GET", "/a?a=%zz", "", nil, 400, "bad escape"},
		{"body of 10 MiB", nil, "POST", "/a", strings.Repeat("x", 10<<20), nil, 413, "1048576"},
		{"body over the bound", limits, "POST", "/a", "12345678901", nil, 413, "10 bytes"},
		{"event over the broker's bound", nil, "POST", "/a", strings.Repeat("x", 1<<20), nil, 413, "broker"},
		{"value over the bound", nil, "POST", "/a", "x", []string{"X-A", cookies}, 400, "X-A"},
		{"two Authorization headers", nil, "POST", "/a", "x", []string{"Authorization", "a", "Authorization", "b"}, 400, "Authorization"},
		{"CONNECT", nil, "CONNECT", "/a", "", nil, 405, "CONNECT"},
		{"preflight", nil, "OPTIONS", "/a", "", []string{"Origin", "https://a.test", "Access-Control-Request-Method", "POST"}, 405, "CORS"},
		{"empty key", nil, "POST", "/a", "x", []string{"Idempotency-Key", ""}, 400, "Idempotency-Key"},
		{"long key", nil, "POST", "/a", "x", []string{"Idempotency-Key", strings.Repeat("k", 256)}, 400, "Idempotency-Key"},
		{"two keys", nil, "POST", "/a", "x", []string{"Idempotency-Key", "a", "Idempotency-Key", "b"}, 400, "Idempotency-Key"},
		{"key not ASCII", nil, "POST", "/a", "x", []string{"Idempotency-Key", "ü"}, 400, "Idempotency-Key"},
		{"key with a tab", nil, "POST", "/a", "x", []string{"Idempotency-Key", "a\tb"}, 400, "Idempotency-Key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := new(tap)
			wantError(t, sendEvent(handler.Event(b, tt.opts), tt.method, tt.target, tt.body, tt.header...), tt.status, tt.detail)
			if len(b.came) > 0 {
				t.Errorf("%q was published", b.came[0].Body)
			}
		})
	}
}

func TestEventPolicyGoesBeforeOptions(t *testing.T) {
	b := new(tap)
	rt := &goapi.Route{Service: "s", Endpoint: &goapi.Endpoint{Name: "A.B", Topic: "a"}, Policy: &goapi.Policy{MaxBody: 3}}
	h := goapi.With(rt, handler.Event(b, &handler.EventOptions{Publish: handler.PublishOptions{MaxBody: 100}}))
	wantError(t, postEvent(h, "/", "1234"), http.StatusRequestEntityTooLarge, "3 bytes")
	acceptedID(t, postEvent(h, "/", "123"))
}

func TestEventManyHeaders(t *testing.T) {
	b := new(tap)
	var header []string
	for i := range 10_000 {
		header = append(header, "X-"+strconv.Itoa(i), "v")
	}
	acceptedID(t, postEvent(handler.Event(b, nil), "/a", "x", header...))
	if got := len(b.only(t).Header); got < 10_000 {
		t.Errorf("%d headers arrive, want all", got)
	}
}

func TestEventBrokerErrors(t *testing.T) {
	tests := []struct {
		err    error
		status int
	}{
		{broker.ErrUnavailable, 503},
		{fmt.Errorf("nats: %w: no route to 10.0.0.1", broker.ErrUnavailable), 503},
		{broker.ErrClosed, 503},
		{broker.ErrTooLarge, 413},
		{broker.ErrTopic, 400},
		{broker.ErrMessage, 400},
		{context.DeadlineExceeded, 504},
		{errors.New("10.0.0.1 is on fire"), 500},
	}
	for _, tt := range tests {
		t.Run(tt.err.Error(), func(t *testing.T) {
			b := &tap{fail: func(int) error { return tt.err }}
			for _, h := range []http.Handler{handler.Event(b, nil), handler.CloudEvents(b, nil)} {
				w := postEvent(h, "/a", "x")
				wantError(t, w, tt.status, "")
				if strings.Contains(w.Body.String(), "10.0.0.1") {
					t.Errorf("answer = %s, with what is inside", w.Body)
				}
				if got := w.Header().Get("Retry-After"); (got != "") != (tt.status == 503) {
					t.Errorf("Retry-After = %q of a %d", got, tt.status)
				}
			}
		})
	}
}

// A slow broker takes a message when it is told to.
type slow struct{ take chan struct{} }

func (b slow) Publish(ctx context.Context, _ string, _ *broker.Message) error {
	select {
	case <-b.take:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestEventIsAcceptedOnceTheBrokerHasIt answers nothing before.
func TestEventIsAcceptedOnceTheBrokerHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := slow{make(chan struct{})}
		for _, h := range []http.Handler{handler.Event(b, nil), handler.CloudEvents(b, nil)} {
			w := httptest.NewRecorder()
			done := make(chan struct{})
			go func() {
				defer close(done)
				h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/a", strings.NewReader("x")))
			}()
			time.Sleep(29 * time.Second)
			synctest.Wait()
			if w.Body.Len() > 0 || len(w.Header()) > 0 {
				t.Errorf("answer = %v %s before the broker has the message", w.Header(), w.Body)
			}
			b.take <- struct{}{}
			<-done
			acceptedID(t, w)
		}
	})
}

func TestEventDeadline(t *testing.T) {
	rt := &goapi.Route{Service: "s", Endpoint: &goapi.Endpoint{Name: "A.B", Topic: "a"}, Policy: &goapi.Policy{Timeout: time.Minute}}
	tests := []struct {
		name string
		h    http.Handler
		want time.Duration
	}{
		{"default", handler.Event(slow{}, nil), 30 * time.Second},
		{"option", handler.CloudEvents(slow{}, &handler.CloudEventsOptions{Publish: handler.PublishOptions{Timeout: time.Second}}), time.Second},
		{"policy", goapi.With(rt, handler.Event(slow{}, nil)), time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				w := postEvent(tt.h, "/a", "x")
				wantError(t, w, http.StatusGatewayTimeout, "broker")
				if got := time.Since(start); got != tt.want {
					t.Errorf("it took %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// TestIdempotencyKey publishes a request once, and nobody else's less often.
func TestIdempotencyKey(t *testing.T) {
	b := new(tap)
	proxied := handler.PublishOptions{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	plain := handler.Event(b, nil)
	behind := handler.Event(b, &handler.EventOptions{Publish: proxied})
	custom := handler.Event(b, &handler.EventOptions{Publish: handler.PublishOptions{
		Caller: func(r *http.Request) string { return r.Header.Get("X-User") },
	}})
	wraps := handler.CloudEvents(b, &handler.CloudEventsOptions{Publish: proxied})
	ask := func(h http.Handler, target, remote string, header ...string) string {
		r := httptest.NewRequest(http.MethodPost, target, strings.NewReader("x"))
		r.RemoteAddr = remote
		for i := 0; i < len(header); i += 2 {
			r.Header.Add(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return acceptedID(t, w)
	}
	// as verifies, as an outer ring does, and takes the credentials off.
	as := func(h http.Handler, id *goapi.Identity) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w, r, ex := goapi.NewExchange(w, r)
			ex.Identity = id
			r.Header.Del("Authorization")
			h.ServeHTTP(w, r)
		})
	}
	ann, issued := &goapi.Identity{Subject: "ann", Method: "key"}, func(by string) *goapi.Identity {
		return &goapi.Identity{Subject: "ann", Method: "jwt", Claims: map[string]any{"iss": by}}
	}
	const here, there, proxy = "198.51.100.1:1", "198.51.100.2:1", "192.0.2.1:1"
	const key, forwarded, auth = "Idempotency-Key", "X-Forwarded-For", "Authorization"
	first := ask(plain, "/a", here, key, "k")
	tests := []struct {
		name string
		id   string
		same bool
	}{
		{"again", ask(plain, "/a", here, key, "k"), true},
		{"another port", ask(plain, "/a", "198.51.100.1:2", key, "k"), true},
		{"another name", ask(plain, "/a/b", here, key, "k"), true},
		{"another key", ask(plain, "/a", here, key, "K"), false},
		{"no key", ask(plain, "/a", here), false},
		{"another topic", ask(plain, "/b", here, key, "k"), false},
		{"another address", ask(plain, "/a", there, key, "k"), false},
		{"an address that a client claims", ask(plain, "/a", there, key, "k", forwarded, "198.51.100.1"), false},
		{"an address that a proxy tells", ask(behind, "/a", proxy, key, "k", forwarded, "198.51.100.1"), true},
		{"one that came by two proxies", ask(behind, "/a", proxy, key, "k", forwarded, "203.0.113.9, 198.51.100.1, 192.0.2.7"), true},
		{"another that a proxy tells", ask(behind, "/a", proxy, key, "k", forwarded, "198.51.100.1, 198.51.100.2"), false},
		{"what is no address", ask(behind, "/a", proxy, key, "k", forwarded, "198.51.100.1, unknown"), false},
		{"an address with a port", ask(behind, "/a", proxy, key, "k", forwarded, "198.51.100.1:4711"), true},
		{"credentials", ask(plain, "/a", here, key, "k", auth, "Bearer t"), false},
		{"another caller", ask(custom, "/a", here, key, "k", "X-User", "u"), false},
	}
	if a, b := ask(behind, "/a", proxy, key, "k", forwarded, "_a"), ask(behind, "/a", proxy, key, "k", forwarded, "_b"); a == b {
		t.Errorf("two that a proxy has names for: ID = %q, want another for each", a)
	}
	known := ask(as(plain, ann), "/a", here, key, "k")
	if again := ask(as(plain, ann), "/a", there, key, "k", auth, "Bearer new"); again != known {
		t.Errorf("a caller who is known, from elsewhere: ID = %q, first %q, want them the same", again, known)
	}
	for name, id := range map[string]string{
		"nobody known": first, "another subject": ask(as(plain, &goapi.Identity{Subject: "bob", Method: "key"}), "/a", here, key, "k"),
		"another method": ask(as(plain, issued("a")), "/a", here, key, "k"),
	} {
		if id == known {
			t.Errorf("%s: ID = %q, want another", name, id)
		}
	}
	if a, b := ask(as(plain, issued("a")), "/a", here, key, "k"), ask(as(plain, issued("b")), "/a", here, key, "k"); a == b {
		t.Errorf("the subject of another issuer: ID = %q, want another", a)
	}
	for _, tt := range tests {
		if (tt.id == first) != tt.same {
			t.Errorf("%s: ID = %q, first %q, want them the same: %t", tt.name, tt.id, first, tt.same)
		}
	}
	if one, two := ask(plain, "/a", here, key, "k", auth, "t"), ask(plain, "/a", there, key, "k", auth, "t"); one != two {
		t.Errorf("with credentials: IDs from two addresses = %q, %q, want one", one, two)
	}
	if one, two := ask(wraps, "/a", here, key, "w"), ask(wraps, "/a", here, key, "w"); one != two {
		t.Errorf("cloudevents: IDs = %q, %q, want one", one, two)
	}
	published := make(map[string]bool)
	for _, m := range b.came {
		if m.Topic == "a" {
			published[m.ID] = true
		}
	}
	list := b.receive(t, "a", len(published))
	seen := make(map[string]bool)
	for _, d := range list {
		if seen[d.ID] {
			t.Errorf("message %q came twice", d.ID)
		}
		seen[d.ID] = true
	}
}

func TestEventOrigins(t *testing.T) {
	tests := []struct {
		name    string
		origins []string
		from    string
		want    int
	}{
		{"any page by default", nil, "https://evil.example", http.StatusAccepted},
		{"one that is listed", []string{"https://shop.example"}, "https://shop.example", http.StatusAccepted},
		{"one that is not", []string{"https://shop.example"}, "https://evil.example", http.StatusForbidden},
		{"none", []string{"https://shop.example"}, "", http.StatusAccepted},
		{"an empty list", []string{}, "https://shop.example", http.StatusForbidden},
		{"its own, with an empty list", []string{}, "http://example.com", http.StatusAccepted},
		{"none, with an empty list", []string{}, "", http.StatusAccepted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			publish := handler.PublishOptions{Origins: tt.origins}
			for _, h := range []http.Handler{
				handler.Event(new(broker.Memory), &handler.EventOptions{Publish: publish}),
				handler.CloudEvents(new(broker.Memory), &handler.CloudEventsOptions{Publish: publish}),
			} {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/orders", strings.NewReader("x"))
				if tt.from != "" {
					r.Header.Set("Origin", tt.from)
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != tt.want {
					t.Errorf("POST of a page of %q = %d, want %d", tt.from, w.Code, tt.want)
				}
			}
		})
	}
}
