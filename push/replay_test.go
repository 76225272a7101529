package push_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
)

// TestTooLargeForALetter: a message that has no room for why it was given up is
// given up nonetheless, once, and the letter says what it lacks.
func TestTooLargeForALetter(t *testing.T) {
	const most = 64 << 10
	tests := []struct {
		name                 string
		body, header         int // bytes
		cut                  string
		keptBody, keptHeader int
		code                 int // of a replay
	}{
		{"fits", most - 4096, 1000, "", most - 4096, 1, 0},
		{"with a large header", most - 4096, 4000, "header", most - 4096, 0, 409},
		{"with a large body", most - 100, 10, "body", 0, 0, 409},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := serve(t, statuses(400))
			g := start(t, &broker.Memory{MaxMessage: most}, push.Options{})
			letter := g.letters(t)
			g.announce(t, "mailer", n, "orders")
			g.subscribed(t, "orders")
			g.publish(t, "orders", "big", strings.Repeat("x", tt.body), "X-Long", strings.Repeat("y", tt.header))
			id := letter().ID
			n.ids(t, 1)
			l, err := g.DeadLetter(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if l.Cut != tt.cut || l.Size != tt.body || len(l.Body) != tt.keptBody || l.Topic != "orders" || l.MessageID != "big" ||
				l.Position == "" || l.Reason != "the service answered 400 Bad Request" || l.Attempts != 1 {
				t.Errorf("letter %+v, want one that says that its %q is cut, of %d bytes", l, tt.cut, tt.body)
			}
			if len(l.Header) != tt.keptHeader {
				t.Errorf("%d header fields, want %d", len(l.Header), tt.keptHeader)
			}
			if err := g.Replay(t.Context(), id); tt.code == 0 && err == nil {
				n.ids(t, 1)
			} else {
				wantCode(t, err, tt.code, `publish that again instead; it was at position "`)
			}
			wantNone(t, n)
		})
	}
}

// TestLargestOnNATS: the largest message that a NATS server takes can be given up.
func TestLargestOnNATS(t *testing.T) {
	b := openNATS(t, startNATS(t, t.TempDir(), "127.0.0.1:0").Addr())
	n := serve(t, statuses(400))
	g := start(t, b, push.Options{})
	letter := g.letters(t)
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	size := b.Capabilities().MaxMessage - len("big")
	g.publish(t, "orders", "big", strings.Repeat("x", size))
	d := letter()
	if d.Header["Goapi-Dead-Letter-Cut"] != "body" || d.Header["Goapi-Dead-Letter-Size"] != fmt.Sprint(size) || len(d.Body) > 0 {
		t.Errorf("letter with %v and %d bytes, want one without the %d of the body", d.Header, len(d.Body), size)
	}
	n.ids(t, 1)
	wantNone(t, n)
}

// replayed replays, and returns what is told of each, in order: "ID" or "ID: detail".
func replayed(t *testing.T, g *gateway, ids ...string) []string {
	t.Helper()
	var told []string
	g.ReplayEach(t.Context(), ids, func(id string, err error) {
		if err != nil {
			id += ": " + err.Error()
		}
		told = append(told, id)
	})
	return told
}

// TestReplayEach: many dead letters are replayed with one reading of the topic,
// in which few are on their way at a time.
func TestReplayEach(t *testing.T) {
	n := serve(t, statuses(400, 400, 400, 400, 204, 422, 204))
	g, ids := refused(t, n, new(broker.Memory), "a", "b", "c", "d")
	want := []string{
		ids[2], ids[0] + ": goapi: 502 service mailer did not take the message: the service answered 422 Unprocessable Entity: the service answered 422 Unprocessable Entity",
		"nonsense: goapi: 404 there is no such dead letter, or it has been replayed", ids[1],
	}
	got := replayed(t, g, ids[2], ids[0], "nonsense", ids[2], ids[1], ids[0])
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	for _, want := range []string{"m-2", "m-0", "m-1"} {
		if got := n.ids(t, 1)[0]; got != want {
			t.Errorf("came %s, want %s", got, want)
		}
	}
	wantNone(t, n)
	g.mu.Lock()
	if len(g.reads) != 1 || g.reads[0].InFlight > 100 || g.reads[0].InFlight < 10 {
		t.Errorf("the topic was read with %+v, want once, with few in flight", g.reads)
	}
	g.mu.Unlock()
	if got := replayed(t, g); got != nil {
		t.Errorf("told of none = %q", got)
	}
	list, err := g.DeadLetters(t.Context())
	if err != nil || len(list.DeadLetters) != 2 || list.DeadLetters[0].ID != ids[0] || list.DeadLetters[1].ID != ids[3] {
		t.Errorf("DeadLetters = %+v, %v; want the first and the last", list, err)
	}
}

// TestReplayEachIsNotNoted: where the broker takes no note, the next ones are not
// pushed: they would be again.
func TestReplayEachIsNotNoted(t *testing.T) {
	n := serve(t, statuses(400, 400, 400))
	b := newTap(new(broker.Memory))
	g, ids := refused(t, n, b, "a", "b", "c")
	published := 0
	b.mu.Lock()
	b.publishes = func(string) error {
		if published++; published == 2 { // after the note of the first
			return broker.ErrUnavailable
		}
		return nil
	}
	b.mu.Unlock()
	told := replayed(t, g, ids...)
	if len(told) != 3 || told[0] != ids[0] || !strings.Contains(told[1], "has taken the message, but") || !strings.Contains(told[2], ids[2]+": goapi: 503 it was not pushed") {
		t.Errorf("told %q, want that the second is not noted, and the third was not pushed", told)
	}
	n.ids(t, 2)
	wantNone(t, n)
}

// TestReplayEachUnread: where the topic cannot be read, each is told of.
func TestReplayEachUnread(t *testing.T) {
	b := newTap(new(broker.Memory))
	b.last = func() error { return broker.ErrUnavailable }
	g := start(t, b, push.Options{})
	if told := replayed(t, g, "1", "2"); len(told) != 2 || !strings.HasPrefix(told[0], "1: goapi: 503") || !strings.HasPrefix(told[1], "2: goapi: 503") {
		t.Errorf("told %q, want 503 of both", told)
	}
}

// TestReplayEachIsBounded: dead letters that are more than what is held are read
// in parts, and each is replayed once.
func TestReplayEachIsBounded(t *testing.T) {
	g := start(t, &broker.Memory{MaxBytes: 1 << 30}, push.Options{})
	n := serve(t, nil)
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	const all = 70
	var ids []string
	body := strings.Repeat("x", 1000<<10)
	for i := range all {
		ids = append(ids, fmt.Sprintf("%02d", i))
		g.publish(t, "_dead-letters", ids[i], body, "Goapi-Dead-Letter", "given-up", "Goapi-Dead-Letter-Service", "mailer",
			"Goapi-Dead-Letter-Topic", "orders", "Goapi-Dead-Letter-Id", ids[i])
	}
	slices.Reverse(ids)
	got := replayed(t, g, ids...)
	slices.Sort(got)
	slices.Sort(ids)
	if diff := cmp.Diff(ids, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(ids, n.ids(t, all)); diff != "" {
		t.Errorf("came (-want +got):\n%s", diff)
	}
	wantNone(t, n)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.reads) != 2 {
		t.Errorf("the topic was read %d times, want 2", len(g.reads))
	}
}

// TestHandlerReplaysEach: there is a line for each.
func TestHandlerReplaysEach(t *testing.T) {
	n := serve(t, statuses(400, 400, 404))
	g, ids := refused(t, n, new(broker.Memory), "a", "b")
	post := func(body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		g.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/dead-letters", strings.NewReader(body)))
		return w
	}
	w := post(`{"ids":["` + strings.Join(ids, `","`) + `"]}`)
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/x-ndjson" || !w.Flushed {
		t.Errorf("answer = %d %v, flushed %t", w.Code, w.Header(), w.Flushed)
	}
	var told []push.Replayed
	for lines := bufio.NewScanner(w.Body); lines.Scan(); {
		var r push.Replayed
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		told = append(told, r)
	}
	if len(told) != 2 || told[0].ID != ids[0] || told[0].Error == nil || told[0].Error.Code != 502 || !strings.Contains(told[0].Error.Detail, "404 Not Found") ||
		told[1].ID != ids[1] || told[1].Error != nil {
		t.Errorf("told %+v, want that the first was refused and the second taken", told)
	}
	for body, code := range map[string]int{
		"":          400,
		"[]":        400,
		`{"ids":1}`: 400, `{"ids":[]}`: 400, `{"all":true}`: 400,
		`{"ids":["` + strings.Repeat(`x","`, 1000) + `"]}`:    400,
		`{"ids":["` + strings.Repeat("x", 1<<20) + `"]}`:      413,
		`{"ids":["` + strings.Repeat(`x","`, 999) + `last"]}`: 200,
	} {
		if got := post(body); got.Code != code {
			t.Errorf("POST of %.40s… = %d %s, want %d", body, got.Code, got.Body, code)
		}
	}
}

// TestGivenUpAgain: a dead letter that was replayed, and is there again since its
// message was given up once more, takes the room of one.
func TestGivenUpAgain(t *testing.T) {
	g := start(t, &broker.Memory{MaxMessage: 48 << 20, MaxBytes: 1 << 30, Dedup: 1}, push.Options{})
	n := serve(t, nil)
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	body := strings.Repeat("x", 40<<20) // two are more than what is held
	giveUp := func(id string) {
		g.publish(t, "_dead-letters", id, body, "Goapi-Dead-Letter", "given-up", "Goapi-Dead-Letter-Service", "mailer",
			"Goapi-Dead-Letter-Topic", "orders", "Goapi-Dead-Letter-Id", id)
	}
	note := func(id string) {
		g.publish(t, "_dead-letters", id+"-note", "", "Goapi-Dead-Letter", "replayed", "Goapi-Dead-Letter-Of", id)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	wantWhole := func(id string) {
		t.Helper()
		if l, err := g.DeadLetter(ctx, id); err != nil || l == nil || len(l.Body) != len(body) {
			t.Fatalf("DeadLetter(%s) = %t, %v; want it whole", id, l != nil, err)
		}
	}
	giveUp("a")
	note("a")
	note("a") // by another gateway
	giveUp("a")
	wantWhole("a")

	giveUp("b")
	note("a")
	giveUp("a") // after b, which has found no room beside it
	var told []string
	g.ReplayEach(ctx, []string{"b", "a"}, func(id string, err error) { told = append(told, fmt.Sprint(id, " ", err)) })
	slices.Sort(told)
	if want := []string{"a <nil>", "b <nil>"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	if got := n.ids(t, 2); got[0] != "a" || got[1] != "b" {
		t.Errorf("came %q, want a and b", got)
	}
	wantNone(t, n)
	if told := replayed(t, g, "a"); len(told) != 1 || !strings.Contains(told[0], "404 there is no such dead letter") {
		t.Errorf("told %q, want that it is gone", told)
	}
}
