package push_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
)

// refused starts a gateway whose service has refused a message for each body, and
// returns the IDs of the dead letters.
func refused(t *testing.T, n *node, b broker.Broker, bodies ...string) (g *gateway, ids []string) {
	t.Helper()
	g = start(t, b, push.Options{})
	letter := g.letters(t)
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	for i, body := range bodies {
		g.publish(t, "orders", fmt.Sprintf("m-%d", i), body, "Content-Type", "text/plain", "X-Request-Id", "r-1")
		n.ids(t, 1)
		ids = append(ids, letter().ID)
	}
	return g, ids
}

// TestReplay: a dead letter goes to its service only, as what the message was; when
// the service takes it, it is listed no more.
func TestReplay(t *testing.T) {
	n := serve(t, statuses(400, 400, 400, 422, 200))
	g, ids := refused(t, n, new(broker.Memory), "a", "b", "c")
	other := serve(t, nil)
	g.announce(t, "other", other, "orders")
	g.subscribed(t, "orders")

	list, err := g.DeadLetters(t.Context())
	if err != nil || len(list.DeadLetters) != 3 || list.More != 0 {
		t.Fatalf("DeadLetters = %+v, %v; want three", list, err)
	}
	got := list.DeadLetters[1]
	if got.Position == "" || got.Time.IsZero() || got.Published.IsZero() || got.Time.Before(got.Published) {
		t.Errorf("published at %v as %q, given up at %v", got.Published, got.Position, got.Time)
	}
	want := &push.DeadLetter{
		ID: ids[1], Service: "mailer", Endpoint: "Onorders", Topic: "orders", MessageID: "m-1", Published: got.Published, Position: got.Position,
		Reason: "the service answered 400 Bad Request", Attempts: 1, Time: got.Time, Size: 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	whole, err := g.DeadLetter(t.Context(), ids[1])
	want.Body, want.Header = []byte("b"), map[string]string{"Content-Type": "text/plain", "X-Request-Id": "r-1"}
	if diff := cmp.Diff(want, whole); diff != "" || err != nil {
		t.Errorf("DeadLetter = %v (-want +got):\n%s", err, diff)
	}

	wantCode(t, g.Replay(t.Context(), ids[1]), 502, "service mailer did not take the message: the service answered 422")
	n.ids(t, 1)
	if err := g.Replay(t.Context(), ids[1]); err != nil {
		t.Fatal(err)
	}
	r := receive(t, n.came)
	if r.Header.Get("Ce-Id") != "m-1" || r.body != "b" || r.Header.Get("X-Request-ID") != "r-1" ||
		r.Header.Get("Content-Type") != "text/plain" || !strings.HasPrefix(r.Header.Get("Ce-Time"), got.Published.Format("2006-01-02T15:04:05")) {
		t.Errorf("replayed %v %q, want the message as it was", r.Header, r.body)
	}
	wantNone(t, other)
	list, err = g.DeadLetters(t.Context())
	if err != nil || len(list.DeadLetters) != 2 || list.DeadLetters[0].ID != ids[0] || list.DeadLetters[1].ID != ids[2] {
		t.Errorf("DeadLetters = %+v, %v; want the first and the third", list, err)
	}
	wantCode(t, g.Replay(t.Context(), ids[1]), 404, "no such dead letter, or it has been replayed")
	_, err = g.DeadLetter(t.Context(), "nonsense")
	wantCode(t, err, 404, "no such dead letter")
}

// TestReplayWithoutService: there must be somebody to take it.
func TestReplayWithoutService(t *testing.T) {
	n := serve(t, statuses(400))
	g, ids := refused(t, n, new(broker.Memory), "a")
	g.withdraw(t, "mailer", n)
	wantCode(t, g.Replay(t.Context(), ids[0]), 503, "service mailer does not ask for topic orders now")
	if l, err := g.DeadLetter(t.Context(), ids[0]); err != nil || l.ID != ids[0] {
		t.Errorf("DeadLetter = %v, %v; want that it is still there", l, err)
	}
}

// TestReplayIsNotNoted: what was taken, but could not be noted, is said to be so.
func TestReplayIsNotNoted(t *testing.T) {
	n := serve(t, statuses(400))
	b := newTap(new(broker.Memory))
	g, ids := refused(t, n, b, "a")
	b.mu.Lock()
	b.publishes = func(string) error { return broker.ErrUnavailable }
	b.mu.Unlock()
	wantCode(t, g.Replay(t.Context(), ids[0]), 503, "has taken the message, but")
	n.ids(t, 1)
	if list, err := g.DeadLetters(t.Context()); err != nil || len(list.DeadLetters) != 1 { // which publishes nothing
		t.Errorf("DeadLetters = %v, %v; want that it is still there", list, err)
	}
}

// TestNoHistory: dead letters are there only where the broker keeps them.
func TestNoHistory(t *testing.T) {
	for _, lack := range []func(*broker.Capabilities){
		func(c *broker.Capabilities) { c.History = false },
		func(c *broker.Capabilities) { c.Ordered = false },
	} {
		b := newTap(new(broker.Memory))
		lack(&b.caps)
		g := start(t, b, push.Options{})
		_, err := g.DeadLetters(t.Context())
		wantCode(t, err, 501, "keeps messages in order")
		_, err = g.DeadLetter(t.Context(), "x")
		wantCode(t, err, 501, "_dead-letters")
		wantCode(t, g.Replay(t.Context(), "x"), 501, "")
	}
}

// TestBrokerAway: that the broker is away is said so.
func TestBrokerAway(t *testing.T) {
	b := newTap(new(broker.Memory))
	b.last = func() error { return fmt.Errorf("%w: nats://10.0.0.1", broker.ErrUnavailable) }
	g := start(t, b, push.Options{})
	_, err := g.DeadLetters(t.Context())
	wantCode(t, err, 503, "the broker does not give out the dead letters")
}

// TestForgedLetters: what others have put on the topic is listed as what it says,
// within bounds, and goes nowhere else than to who asks for it.
func TestForgedLetters(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{Topics: []string{"orders"}})
	n := serve(t, nil)
	g.announce(t, "mailer", n, "orders", "path", "/")
	g.subscribed(t, "orders")
	long := strings.Repeat("x", 60_000)
	g.publish(t, "_dead-letters", "1", "x")
	g.publish(t, "_dead-letters", "2", "x", "Goapi-Dead-Letter", "given-up", "Goapi-Dead-Letter-Service", long, "Goapi-Dead-Letter-Attempts", "many")
	g.publish(t, "_dead-letters", "3", "x", "Goapi-Dead-Letter", "given-up", "Goapi-Dead-Letter-Service", "mailer", "Goapi-Dead-Letter-Topic", "secrets")
	g.publish(t, "_dead-letters", "4", "x", "Goapi-Dead-Letter", "replayed", "Goapi-Dead-Letter-Of", "nonsense")
	list, err := g.DeadLetters(t.Context())
	if err != nil || len(list.DeadLetters) != 2 || len(list.DeadLetters[0].Service) > 1000 || list.DeadLetters[1].ID != "3" {
		t.Errorf("DeadLetters = %+v, %v; want 2 and 3", list, err)
	}
	wantCode(t, g.Replay(t.Context(), "2"), 503, "does not ask")
	wantCode(t, g.Replay(t.Context(), "3"), 503, "does not ask")
	wantNone(t, n)
}

// TestManyLetters: the newest are listed, and the others counted.
func TestManyLetters(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{})
	for i := range 1100 {
		g.publish(t, "_dead-letters", fmt.Sprint(i), "x", "Goapi-Dead-Letter", "given-up")
	}
	list, err := g.DeadLetters(t.Context())
	if err != nil || len(list.DeadLetters) != 1000 || list.More != 100 || list.DeadLetters[0].ID != "100" || list.DeadLetters[999].ID != "1099" {
		t.Errorf("DeadLetters = %d and %d more, %v; want 1000 and 100", len(list.DeadLetters), list.More, err)
	}
	if l, err := g.DeadLetter(t.Context(), "0"); err != nil || string(l.Body) != "x" {
		t.Errorf("DeadLetter(0) = %v, %v; want one that is not listed any more", l, err)
	}
}

func TestHandler(t *testing.T) {
	n := serve(t, statuses(400, 404))
	g, ids := refused(t, n, new(broker.Memory), "\xff\x00")
	h := g.Handler()
	tests := []struct {
		name, method, path string
		code               int
		body               string
	}{
		{"list", "GET", "/dead-letters", 200, `{"dead_letters":[{"id":"` + ids[0] + `","service":"mailer","endpoint":"Onorders","topic":"orders","message_id":"m-0","published":`},
		{"list with a slash", "GET", "/dead-letters/", 200, `"size":2}],"more":0}`},
		{"one", "GET", "/dead-letters/" + ids[0], 200, `"body":"/wA="`},
		{"none", "GET", "/dead-letters/nonsense", 404, `"there is no such dead letter, or it has been replayed"`},
		{"replay refused", "POST", "/dead-letters/" + ids[0], 502, `did not take the message: the service answered 404 Not Found`},
		{"replay taken", "POST", "/dead-letters/" + ids[0], 204, ""},
		{"replay of none", "POST", "/dead-letters/" + ids[0], 404, ""},
		{"list without", "GET", "/dead-letters", 200, `{"dead_letters":[],"more":0}`},
		{"replay of what is not said", "POST", "/dead-letters", 400, "1 to 1000 dead letters"},
		{"deletion", "DELETE", "/dead-letters/" + ids[0], 405, "replay"},
		{"deletion of all", "DELETE", "/dead-letters", 405, "replay"},
		{"below", "GET", "/dead-letters/a/b", 404, "want /dead-letters"},
		{"beside", "GET", "/dead-lettersx", 404, ""},
		{"elsewhere", "GET", "/", 404, ""},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.body) {
			t.Errorf("%s: %s %s = %d %s, want %d with %s", tt.name, tt.method, tt.path, w.Code, w.Body, tt.code, tt.body)
		}
		if w.Code != 204 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: the answer is no JSON: %s", tt.name, w.Body)
		}
		if w.Code == 405 && !strings.Contains(w.Header().Get("Allow"), "GET") {
			t.Errorf("%s: Allow = %q", tt.name, w.Header().Get("Allow"))
		}
	}
}

// TestHandlerGivesLettersBack: what an answer says can be read by who knows the
// types.
func TestHandlerGivesLettersBack(t *testing.T) {
	n := serve(t, statuses(400))
	g, ids := refused(t, n, new(broker.Memory), "a")
	s := httptest.NewServer(g.Handler())
	defer s.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/dead-letters/"+ids[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := new(push.DeadLetter)
	if err := json.Unmarshal(body, got); err != nil {
		t.Fatal(err)
	}
	want, err := g.DeadLetter(t.Context(), ids[0])
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// wantCode checks that an error is one for a client, of one line.
func wantCode(t testing.TB, err error, code int, detail string) {
	t.Helper()
	var e *goapi.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Detail, detail) || strings.ContainsAny(e.Detail, "\r\n") || strings.Contains(e.Detail, "10.0.0") {
		t.Errorf("error = %v, want %d with a line that has %q", err, code, detail)
	}
}
