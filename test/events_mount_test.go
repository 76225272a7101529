package test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// An event is a go.api.Event as it is published.
type event struct {
	Name, ID, Data string
}

func eventIn(t *testing.T, m message) event {
	t.Helper()
	var e event
	if err := json.Unmarshal([]byte(m.body), &e); err != nil {
		t.Fatalf("message %q is no event: %v", m.body, err)
	}
	return e
}

// TestMountsPublishOnListedTopicsOnly lists a topic and a pattern, and asks each
// mount for these and others.
func TestMountsPublishOnListedTopicsOnly(t *testing.T) {
	p := startGateway(t, "--mount", "/events=event", "--mount", "/cloudevents=cloudevents", "--mount", "/broker=broker",
		"--publish", "orders", "--publish", "audit.*")
	for _, mount := range []string{"/events/", "/cloudevents/", "/broker?topic="} {
		for topic, want := range map[string]int{
			"orders": http.StatusAccepted, "audit.login": http.StatusAccepted,
			"order": http.StatusForbidden, "orders.created": http.StatusForbidden, "Orders": http.StatusForbidden,
			"audit": http.StatusForbidden, "audit.a.b": http.StatusForbidden, "_dead-letters": http.StatusForbidden,
		} {
			if got := p.post(p.address, mount+topic, "hello"); got.status != want {
				t.Errorf("POST %s%s = %v, want %d", mount, topic, got, want)
			}
		}
	}
	for topic, want := range map[string]int{"orders": 3, "audit.login": 3, "order": 0, "orders.created": 0, "audit": 0, "audit.a.b": 0} {
		if got := p.published(topic); len(got) != want {
			t.Errorf("topic %s has %d messages, want %d", topic, len(got), want)
		}
	}
}

// TestMountsRefuseEverythingByDefault mounts without a list, which the log says.
func TestMountsRefuseEverythingByDefault(t *testing.T) {
	p := startGateway(t, "--mount", "/events=event", "--mount", "/cloudevents=cloudevents", "--mount", "/broker=broker")
	for _, path := range []string{"/events/orders", "/cloudevents/orders", "/broker?topic=orders"} {
		if got := p.post(p.address, path, "hello"); got.status != http.StatusForbidden {
			t.Errorf("POST %s = %v, want 403", path, got)
		}
	}
	got := p.request(http.MethodGet, p.address, "/broker?topic=orders", "", "Accept", "text/event-stream")
	if got.status != http.StatusForbidden {
		t.Errorf("GET /broker = %v, want 403", got)
	}
	if n := strings.Count(p.logged(), "a mount refuses everything until topics are listed"); n != 3 {
		t.Errorf("the log says %d times that a mount refuses everything, want 3:\n%s", n, p.logged())
	}
}

// TestLongestMountWins nests mounts of different handlers.
func TestLongestMountWins(t *testing.T) {
	p := startGateway(t, "--mount", "/in=event", "--mount", "/in/clouds=cloudevents", "--mount", "/in/clouds/raw=broker", "--publish", "**")
	for _, tt := range []struct{ path, topic, form string }{
		{"/in/orders/made", "orders", `"name":"made"`},
		{"/in/cloudsy/x", "cloudsy", `"name":"x"`},
		{"/in/clouds/orders", "orders", `"type":"http.request"`},
		{"/in/clouds/rawer", "rawer", `"type":"http.request"`},
		{"/in/clouds/raw?topic=plain", "plain", "hello"},
	} {
		before := len(p.published(tt.topic))
		if got := p.post(p.address, tt.path, "hello"); got.status != http.StatusAccepted {
			t.Errorf("POST %s = %v, want 202", tt.path, got)
			continue
		}
		if got := p.published(tt.topic)[before:]; len(got) != 1 || !strings.Contains(got[0].body, tt.form) {
			t.Errorf("POST %s published %q on %s, want one message with %s", tt.path, bodies(got), tt.topic, tt.form)
		}
	}
	if got := p.post(p.address, "/inner/orders", "hello"); got.status != http.StatusNotFound {
		t.Errorf("POST beside a mount = %v, want 404", got)
	}
}

// TestAMountIsItsPathAsItIsWritten asks for paths that could be taken for the
// mount's. They are sent as they are: a client would clean them.
func TestAMountIsItsPathAsItIsWritten(t *testing.T) {
	p := startGateway(t, "--mount", "/events=event", "--publish", "**")
	for _, path := range []string{
		"/%65vents/orders", "/events%2Forders", "/events%2forders/x", "//events/orders", "/./events/orders", "/x/../events/orders",
		"/Events/orders", "/events;v=1/orders", "/events%00/orders", "events/orders", "/%2e/events/orders",
		"/events/../orders", "/events//orders", "/events/%2e%2e/orders", "/events/", "/events", "/events/./x",
	} {
		if got := rawStatus(t, p.address, path); got != "400" && got != "404" {
			t.Errorf("POST %s = %s, want 400 or 404", path, got)
		}
	}
	if got := p.published("orders"); len(got) != 0 {
		t.Errorf("%d messages were published: %q", len(got), bodies(got))
	}
	if got := rawStatus(t, p.address, "/events/orders"); got != "202" {
		t.Errorf("POST /events/orders = %s, want 202", got)
	}
}

// TestAMountGoesBeforeRoutes has a service claim paths below a mount, and one
// beside it.
func TestAMountGoesBeforeRoutes(t *testing.T) {
	p := startGateway(t, "--mount", "/events=event", "--publish", "**")
	reached := make(chan string, 8)
	node := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached <- r.URL.Path }))
	t.Cleanup(node.Close)
	p.register(&registry.Service{
		Name: "events", Nodes: []*registry.Node{{ID: "e1", Address: node.Listener.Addr().String()}},
		Endpoints: []*registry.Endpoint{{Name: "All", Metadata: map[string]string{"handler": "http", "path": "/**"}}},
	}, 0)
	if got := p.post(p.address, "/events/orders", "hello"); got.status != http.StatusAccepted {
		t.Errorf("POST below the mount = %v, want 202", got)
	}
	if got := p.post(p.address, "/eventsx/orders", "hello"); got.status != http.StatusOK {
		t.Errorf("POST beside the mount = %v, want the service's 200", got)
	}
	close(reached)
	var paths []string
	for path := range reached {
		paths = append(paths, path)
	}
	if want := []string{"/eventsx/orders"}; !slices.Equal(paths, want) {
		t.Errorf("the service got %q, want %q", paths, want)
	}
}

// TestMountOptions gives mounts of one handler different options.
func TestMountOptions(t *testing.T) {
	p := startGateway(t, "--mount", "/a=event?namespace=shop", "--mount", "/b=event?format=protobuf",
		"--mount", "/c=cloudevents?format=binary&namespace=shop.", "--mount", "/d=cloudevents?webhook_origin=a.example&webhook_rate=60", "--publish", "**")
	for _, path := range []string{"/a/orders/made", "/b/binary/made", "/c/clouds"} {
		if got := p.post(p.address, path, "hello", "Content-Type", "text/plain"); got.status != http.StatusAccepted {
			t.Errorf("POST %s = %v, want 202", path, got)
		}
	}
	if got := p.published("shop.orders"); len(got) != 1 || eventIn(t, got[0]).Data != "hello" {
		t.Errorf("shop.orders has %q, want the event", bodies(got))
	}
	if got := p.published("binary"); len(got) != 1 || got[0].header["Content-Type"] != "application/protobuf" {
		t.Errorf("binary has %+v, want an event as protobuf", got)
	}
	if got := p.published("shop.clouds"); len(got) != 1 || got[0].header["ce-type"] != "http.request" {
		t.Errorf("shop.clouds has %+v, want an event in the header", got)
	}
	for origin, want := range map[string]int{"a.example": http.StatusOK, "b.example": http.StatusForbidden} {
		got := p.request(http.MethodOptions, p.address, "/d/orders", "", "Webhook-Request-Origin", origin)
		if got.status != want || want == http.StatusOK && got.header.Get("Webhook-Allowed-Rate") != "60" {
			t.Errorf("OPTIONS of %s = %v %v, want %d", origin, got, got.header, want)
		}
	}
}

// TestAServiceAnnouncesWhatIsPublished has services name the handlers event and
// cloudevents, and a topic, in what they announce.
func TestAServiceAnnouncesWhatIsPublished(t *testing.T) {
	p := startGateway(t, "--publish", "signups", "--publish", "clouds")
	node := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the service got %s", r.URL) }))
	t.Cleanup(node.Close)
	endpoint := func(name string, metadata ...string) *registry.Endpoint {
		e := &registry.Endpoint{Name: name, Metadata: map[string]string{"endpoint": name}}
		for i := 0; i < len(metadata); i += 2 {
			e.Metadata[metadata[i]] = metadata[i+1]
		}
		return e
	}
	p.register(&registry.Service{
		Name: "accounts", Nodes: []*registry.Node{{ID: "a1", Address: node.Listener.Addr().String(), Metadata: map[string]string{"protocol": "mucp"}}},
		Endpoints: []*registry.Endpoint{
			endpoint("Accounts.SignedUp", "handler", "event", "topic", "signups", "path", "/signup", "method", "POST"),
			endpoint("Accounts.Cloud", "handler", "cloudevents", "topic", "clouds", "path", "/cloud"),
			endpoint("Accounts.Secret", "handler", "event", "topic", "secrets", "path", "/secret"),
			endpoint("Accounts.OnSignUp", "subscriber", "true", "topic", "signups", "handler", "http", "path", "/pushed"),
			endpoint("Accounts.Get"), // a method: so others are none
			endpoint("Accounts.Broker", "handler", "broker", "topic", "signups", "path", "/bus"),
		},
	}, 0)
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{http.MethodPost, "/signup", http.StatusAccepted},
		{http.MethodGet, "/signup", http.StatusMethodNotAllowed},
		{http.MethodPost, "/cloud", http.StatusAccepted},
		{http.MethodPost, "/secret", http.StatusForbidden},
		{http.MethodPost, "/pushed", http.StatusNotFound},
		{http.MethodPost, "/accounts/onSignUp", http.StatusNotFound},
		{http.MethodPost, "/bus?topic=signups", http.StatusNotFound},
	} {
		if got := p.request(tt.method, p.address, tt.path, `{"name":"jane"}`); got.status != tt.want {
			t.Errorf("%s %s = %v, want %d", tt.method, tt.path, got, tt.want)
		}
	}
	got := p.published("signups")
	if len(got) != 1 || eventIn(t, got[0]) != (event{"Accounts.SignedUp", got[0].id, `{"name":"jane"}`}) {
		t.Errorf("signups has %q, want one event of that endpoint", bodies(got))
	}
	if got := p.published("clouds"); len(got) != 1 || !strings.Contains(got[0].body, `"type":"http.request"`) {
		t.Errorf("clouds has %q, want one CloudEvent", bodies(got))
	}
	if got := p.published("secrets"); len(got) != 0 {
		t.Errorf("secrets has %q, want nothing: it is not listed", bodies(got))
	}
	if out, _, _ := p.command("routes"); !strings.Contains(out, "/bus") || !strings.Contains(out, "broker") {
		t.Errorf("routes = %s, want word of the endpoint that names the handler broker", out)
	}
}

// rawStatus sends a POST for a path as it is, and returns the status.
func rawStatus(t *testing.T, address, path string) string {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer := rawRequest(t, conn, "POST "+path+" HTTP/1.1\r\nHost: "+address+"\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
	_, rest, _ := strings.Cut(answer, " ")
	status, _, _ := strings.Cut(rest, " ")
	return status
}

// rawRequest writes text to a connection, and returns what comes until its end.
func rawRequest(t *testing.T, conn net.Conn, text string) string {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(conn)
	if err != nil && len(b) == 0 {
		t.Fatal(err)
	}
	return string(b)
}
