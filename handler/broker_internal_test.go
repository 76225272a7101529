package handler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/goapi-dev/goapi/broker"
)

func TestAcceptsEvents(t *testing.T) {
	tests := []struct {
		accept []string
		want   bool
	}{
		{[]string{"text/event-stream"}, true},
		{[]string{"application/x-ndjson, text/event-stream;q=0.5"}, true},
		{[]string{"application/json", "TEXT/Event-Stream; charset=utf-8"}, true},
		{[]string{"text/event-stream;q=0"}, false},
		{[]string{"*/*"}, false},
		{[]string{`a/b;c=", text/event-stream"`}, false},
		{nil, false},
	}
	for _, tt := range tests {
		if got := acceptsEvents(tt.accept); got != tt.want {
			t.Errorf("acceptsEvents(%q) = %v, want %v", tt.accept, got, tt.want)
		}
	}
}

func TestStartOf(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		from string
		want broker.Start
		ok   bool
	}{
		{"", broker.Start{}, true},
		{"now", broker.Start{}, true},
		{"earliest", broker.Start{Earliest: true}, true},
		{"2026-01-02T03:04:04Z", broker.Start{Since: now.Add(-time.Second)}, true},
		{"2026-01-02T03:04:06Z", broker.Start{}, true},
		{"1970-01-01T00:00:00Z", broker.Start{Since: time.Unix(0, 0).UTC()}, true},
		{"1969-12-31T23:59:59Z", broker.Start{Earliest: true}, true},
		{"0001-01-01T00:00:00Z", broker.Start{Earliest: true}, true},
		{"2263-01-01T00:00:00Z", broker.Start{}, false},
		{"era-7", broker.Start{After: "era-7"}, true},
		{"2026", broker.Start{After: "2026"}, true},
		{"yesterday", broker.Start{}, false},
		{"2026-01-01", broker.Start{}, false},
		{"2026-01-01 10:00", broker.Start{}, false},
		{"2026-01-01T10:00", broker.Start{}, false},
		{"7\u00e4", broker.Start{}, false},
		{strings.Repeat("7", maxPosition+1), broker.Start{}, false},
	}
	for _, tt := range tests {
		if got, err := startOf(tt.from, now); got != tt.want || (err == nil) != tt.ok {
			t.Errorf("startOf(%.30q) = %v, %v; want %v, an error: %v", tt.from, got, err, tt.want, !tt.ok)
		}
	}
}

func TestCredential(t *testing.T) {
	secret := []string{
		"Authorization", "Cookie", "X-Api-Key", "Apikey", "X-Auth-Token", "X-Amz-Security-Token", "X-Goog-Iap-Jwt-Assertion", "X-Ms-Client-Secret",
		"Ocp-Apim-Subscription-Key", "X-Functions-Key", "Key", "X-Passwd", "X-Password", "X-Otp", "Dpop", "X-Sid", "Sid", "X-Session-Id",
		"X-Hub-Signature-256", "X-Credential", "Cf-Access-Jwt-Assertion",
	}
	for _, name := range secret {
		if !credential(name) {
			t.Errorf("credential(%s) = false, want true", name)
		}
	}
	for _, name := range []string{"Idempotency-Key", "Content-Type", "X-Shop", "X-Keyboard", "X-Inside", "X-Side", "X-Option", "User-Agent"} {
		if credential(name) {
			t.Errorf("credential(%s) = true, want false", name)
		}
	}
}

// numbered returns an item for a number.
func numbered(t testing.TB, n int) *item {
	t.Helper()
	it, err := newItem(broker.NewDelivery(broker.Message{Body: fmt.Append(nil, n)}, fmt.Sprint("p", n), 1, nil), false)
	if err != nil {
		t.Fatal(err)
	}
	it.use()
	return it
}

// testHub returns a hub with a queue and a timeout.
func testHub(b broker.Broker, queue int, timeout time.Duration) *hub {
	o := (&BrokerOptions{Queue: queue, Timeout: timeout}).orDefault(b.Capabilities())
	return newHub(b, o)
}

// rawOf returns a raw event.
func rawOf(it *item) string {
	var text []byte
	_ = it.raw(func(p []byte) error {
		text = append(text, p...)
		return nil
	})
	return string(text)
}

func bodiesOf(items []*item) string {
	var list []string
	for _, it := range items {
		list = append(list, string(it.body))
	}
	return strings.Join(list, " ")
}

func TestRing(t *testing.T) {
	q := ring{limit: 3}
	_, changed, err := q.read(nil, 0)
	if changed == nil || err != nil {
		t.Fatalf("read of an empty ring = %v, %v; want a channel", changed, err)
	}
	for i := range 5 {
		q.add(numbered(t, i))
	}
	select {
	case <-changed:
		t.Error("readers were woken by add")
	default:
	}
	q.wake()
	<-changed

	if items, _, err := q.read(nil, 2); bodiesOf(items) != "2 3 4" || err != nil {
		t.Errorf("read(2) = %s, %v; want 2 3 4", bodiesOf(items), err)
	}
	if _, _, err := q.read(nil, 1); !errors.Is(err, errSlow) {
		t.Errorf("read of what is gone = %v, want errSlow", err)
	}
	if got := q.next(); got != 5 {
		t.Errorf("next = %d, want 5", got)
	}
	for position, want := range map[string]uint64{"p1": 2, "p2": 3, "p4": 5} {
		if place, ok, _ := q.after(position); place != want || !ok {
			t.Errorf("after(%s) = %d, %v; want %d", position, place, ok, want)
		}
	}
	if _, ok, changed := q.after("p0"); ok || changed == nil || len(q.places) != 3 {
		t.Errorf("a position that is gone is known, of %d", len(q.places))
	}
	over := errors.New("over")
	q.end(over)
	if items, _, err := q.read(nil, 4); len(items) != 1 || err != nil {
		t.Errorf("read of the last = %d items, %v", len(items), err)
	}
	if _, _, err := q.read(nil, 5); !errors.Is(err, over) {
		t.Errorf("read after the last = %v, want %v", err, over)
	}
}

func TestRingBoundsBytes(t *testing.T) {
	q := ring{limit: 1000}
	large := func(n int) *item {
		it := &item{event: make([]byte, n-itemCost)}
		it.use()
		return it
	}
	for range 100 {
		q.add(large(1 << 20))
	}
	if len(q.items) != maxRing>>20 || q.bytes != maxRing {
		t.Errorf("the ring holds %d items of %d bytes, want %d bytes", len(q.items), q.bytes, maxRing)
	}
	q.add(large(2 * maxRing))
	if len(q.items) != 1 {
		t.Errorf("the ring holds %d items, want the one that is larger than all", len(q.items))
	}
	for range 10 {
		q.add(large(maxBatch/2 + 1 + itemCost))
	}
	if items, _, err := q.read(nil, q.next()-10); len(items) != 2 || err != nil {
		t.Errorf("read = %d items, %v; want as many as are sent at a time, 2", len(items), err)
	}
}

func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var woken []time.Duration
		p := pacer{wake: func() { woken = append(woken, time.Since(start)) }}
		for range 12 { // one each 10 ms
			p.tell(50 * time.Millisecond)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		p.tell(50 * time.Millisecond)
		synctest.Wait()
		want := []time.Duration{0, 50 * time.Millisecond, 100 * time.Millisecond, 150 * time.Millisecond, 1120 * time.Millisecond}
		if !slices.Equal(woken, want) {
			t.Errorf("woken after %v, want %v", woken, want)
		}
		p.tell(time.Hour)
		p.stop()
		time.Sleep(2 * time.Hour)
		if len(woken) != len(want) {
			t.Error("woken after the end")
		}
	})
}

// TestTailCatchesUp holds that a client that begins in the past reads the
// shared feed in the end, with no message missing or twice.
func TestTailCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mem broker.Memory
		publish := func(from, to int) {
			for i := from; i < to; i++ {
				if err := mem.Publish(t.Context(), "orders", &broker.Message{Body: fmt.Append(nil, i)}); err != nil {
					t.Error(err)
				}
			}
		}
		publish(0, 100)
		h := testHub(&mem, 1000, time.Second)
		tl, err := h.tail(t.Context(), "orders", broker.SubscribeOptions{Start: broker.Start{Earliest: true}}, math.MaxInt)
		if err != nil {
			t.Fatal(err)
		}
		defer tl.close()
		var got []string
		read := func() {
			for {
				items, changed, err := tl.take()
				if err != nil {
					t.Fatal(err)
				}
				if len(items) == 0 {
					synctest.Wait()
					select {
					case <-changed:
						continue
					case <-time.After(time.Second):
						return
					}
				}
				got = append(got, bodiesOf(items))
				tl.written(t.Context())
			}
		}
		read()
		if tl.own == nil {
			t.Error("reads the feed, which has none of the messages")
		}
		publish(100, 150)
		read()
		if tl.own != nil {
			t.Error("does not read the feed")
		}
		publish(150, 200)
		read()
		var want []string
		for i := range 200 {
			want = append(want, fmt.Sprint(i))
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("received %s, want 0 to 199", got)
		}

		// A client whose position the feed holds needs nothing else.
		place, _, _ := tl.feed.after(tl.feed.items[10].position)
		other, err := h.tail(t.Context(), "orders", broker.SubscribeOptions{Start: broker.Start{After: tl.feed.items[10].position}}, math.MaxInt)
		if err != nil {
			t.Fatal(err)
		}
		defer other.close()
		if other.own != nil || other.place != place {
			t.Errorf("begins at %d, own %v; want %d in the feed", other.place, other.own, place)
		}
	})
}

// TestHubJoin holds that a client does not wait for others' subscription longer
// than it wants to, and that a failure is forgotten.
func TestHubJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowBroker{wait: time.Minute}
		h := testHub(b, 10, 10*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := h.join(ctx, "orders"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("join = %v after %v, want a deadline after 1s", err, time.Since(start))
		}
		if _, err := h.join(t.Context(), "orders"); err == nil || time.Since(start) != 11*time.Second {
			t.Errorf("join = %v after %v, want an error after 11s", err, time.Since(start))
		}
		b.wait = 0
		f, err := h.join(t.Context(), "orders")
		if err != nil {
			t.Fatal(err)
		}
		h.leave(f)
		if len(h.feeds) > 0 {
			t.Errorf("feeds that nobody reads: %v", slices.Collect(maps.Keys(h.feeds)))
		}
	})
}

// slowBroker takes its time to subscribe.
type slowBroker struct {
	broker.Memory

	wait time.Duration
}

func (b *slowBroker) Subscribe(ctx context.Context, topic string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
	select {
	case <-time.After(b.wait):
		return b.Memory.Subscribe(ctx, topic, opts)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// FuzzRawEvent reads raw events as browsers do: what they say is the body, or
// the JSON, and nothing else.
func FuzzRawEvent(f *testing.F) {
	for _, body := range []string{"", "a", "a\nb", "\n", "a\rb", "\xff", "data: x\n\nid: 7\n\n", " a", ":", "\x00", "\u2028"} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		it, err := newItem(broker.NewDelivery(broker.Message{Topic: "t", Body: body}, "p", 1, nil), false)
		if err != nil {
			t.Fatal(err)
		}
		id, name, data, ok := parseEvent(rawOf(it))
		want, wantName := string(body), ""
		if name == "json" {
			want, wantName = string(it.json), "json"
		}
		if id != "p" || name != wantName || data != want || !ok {
			t.Errorf("event = %q %q %q, %v; want p %q %q", id, name, data, ok, wantName, want)
		}
		if plain := utf8.Valid(body) && !bytes.ContainsAny(body, "\r\x00"); plain == (name == "json") {
			t.Errorf("%q came as %q", body, name)
		}
		if _, _, data, ok := parseEvent(string(it.event)); data != string(it.json) || !ok {
			t.Errorf("event = %q, %v; want %q", data, ok, it.json)
		}
	})
}

// parseEvent reads an event; ok says that there is one and no more.
func parseEvent(text string) (id, name, data string, ok bool) {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	var lines []string
	events := 0
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			events++
		case field == "id":
			id = value
		case field == "event":
			name = value
		case field == "data":
			lines = append(lines, value)
		}
	}
	return id, name, strings.Join(lines, "\n"), events == 1 && strings.HasSuffix(text, "\n\n")
}
