package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// eventTopic is where all of them publish.
	eventTopic = "orders"
	// eventBackOff is how long clients wait before they try again.
	eventBackOff = 5 * time.Millisecond
)

// A way is how a client publishes. Whatever it sends has a token in it.
type way struct {
	name, path, contentType string
	body                    func(token string) string
	keyed                   bool // sends an Idempotency-Key
	cloud                   bool // is answered the ids of its events, which are tokens
}

// ways are those of all handlers.
func ways() []way {
	text := func(token string) string { return "token:" + token + ";" }
	cloud := func(token string) string {
		return `{"specversion":"1.0","id":"` + token + `","source":"/test","type":"test","data":"` + text(token) + `"}`
	}
	batch := func(token string) string {
		return "[" + cloud(token+"a") + "," + cloud(token+"b") + "," + cloud(token+"c") + "]"
	}
	return []way{
		{name: "event", path: "/events/" + eventTopic + "/made", contentType: "text/plain", body: text},
		{name: "keyed", path: "/events/" + eventTopic + "/made", contentType: "text/plain", body: text, keyed: true},
		{name: "structured", path: "/cloudevents/" + eventTopic, contentType: "application/cloudevents+json", body: cloud, cloud: true},
		{name: "batch", path: "/cloudevents/" + eventTopic, contentType: "application/cloudevents-batch+json", body: batch, cloud: true},
		{name: "broker", path: "/broker?topic=" + eventTopic, contentType: "text/plain", body: text, keyed: true},
	}
}

// eventFlags mount what the ways need.
func eventFlags() []string {
	return []string{
		"--mount", "/events=event", "--mount", "/cloudevents=cloudevents", "--mount", "/broker=broker",
		"--publish", eventTopic, "--subscribe", eventTopic, "--push", eventTopic,
	}
}

// An eventLoad publishes in all ways at once, as good clients do: what was not
// accepted is sent again, under the same key or id. What has neither is then
// another message, with a token of its own.
type eventLoad struct {
	base      string // URL of the gateway
	ledger    *ledger
	transport *http.Transport
	stop      context.CancelFunc
	group     sync.WaitGroup
	retries   atomic.Int64

	mu       sync.Mutex
	counts   map[string]int // of what was accepted, by publisher
	wrong    []string       // answers that no client is to get
	progress chan struct{}  // holds a value when counts have grown
}

// startEvents starts the load, two publishers for each way.
func startEvents(t *testing.T, address string, l *ledger) *eventLoad {
	ctx, stop := context.WithCancel(context.Background())
	load := &eventLoad{
		base: "http://" + address, ledger: l, stop: stop, counts: make(map[string]int), progress: make(chan struct{}, 1),
		transport: &http.Transport{MaxIdleConnsPerHost: 16},
	}
	t.Cleanup(load.end)
	for _, w := range ways() {
		for i := range 2 {
			name := fmt.Sprint(w.name, i)
			load.counts[name] = 0
			load.group.Go(func() { load.publish(ctx, w, name) })
		}
	}
	return load
}

// end stops publishing, and waits until nobody does.
func (l *eventLoad) end() {
	l.stop()
	l.group.Wait()
	l.transport.CloseIdleConnections()
}

// publish publishes until the context is done.
func (l *eventLoad) publish(ctx context.Context, w way, name string) {
	for n, attempt := 0, 0; ctx.Err() == nil; {
		token := fmt.Sprintf("%s-%d-", name, n)
		if !w.keyed && !w.cloud {
			token += fmt.Sprint(attempt)
		}
		if l.send(ctx, w, token) {
			n, attempt = n+1, 0
			l.count(name)
			continue
		}
		attempt++
		l.retries.Add(1)
		select {
		case <-time.After(eventBackOff):
		case <-ctx.Done():
		}
	}
}

// send publishes once, and says whether that was accepted.
func (l *eventLoad) send(ctx context.Context, w way, token string) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.base+w.path, strings.NewReader(w.body(token)))
	if err != nil {
		return l.report(w, token, 0, []byte(err.Error()))
	}
	req.Header.Set("Content-Type", w.contentType)
	if w.keyed {
		req.Header.Set("Idempotency-Key", token)
	}
	rsp, err := l.transport.RoundTrip(req)
	if err != nil {
		return false
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		return false
	}
	switch rsp.StatusCode {
	case http.StatusAccepted:
		return l.accept(w, token, b)
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if w.cloud { // of a batch, a part may have been published
			l.accept(w, token, b)
		}
		return false
	}
	return l.report(w, token, rsp.StatusCode, b)
}

// accept notes what an answer says is published.
func (l *eventLoad) accept(w way, token string, answer []byte) bool {
	var a struct {
		ID   string
		IDs  []string
		Code int
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return l.report(w, token, http.StatusAccepted, answer)
	}
	if !w.cloud {
		l.ledger.accept(token, a.ID)
		return true
	}
	for _, id := range a.IDs {
		l.ledger.accept(id, "")
	}
	if a.Code == 0 && a.ID != "" { // else the ID is an error's
		l.ledger.accept(a.ID, "")
	}
	return true
}

// report notes an answer that is wrong.
func (l *eventLoad) report(w way, token string, status int, answer []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf("%s of %s: %d %.200s", w.name, token, status, answer))
	return false
}

func (l *eventLoad) count(name string) {
	l.mu.Lock()
	l.counts[name]++
	l.mu.Unlock()
	select {
	case l.progress <- struct{}{}:
	default:
	}
}

// await returns when each publisher has published n more.
func (l *eventLoad) await(t *testing.T, n int) {
	t.Helper()
	l.mu.Lock()
	want := make(map[string]int, len(l.counts))
	for name, count := range l.counts {
		want[name] = count + n
	}
	l.mu.Unlock()
	late := time.NewTimer(patience)
	defer late.Stop()
	for !l.reached(want) {
		select {
		case <-l.progress:
		case <-late.C:
			t.Fatalf("not all could publish %d more within %s: %v, want %v; %q", n, patience, l.counts, want, l.errors())
		}
	}
}

func (l *eventLoad) reached(want map[string]int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, n := range want {
		if l.counts[name] < n {
			return false
		}
	}
	return true
}

// errors returns the answers that were wrong.
func (l *eventLoad) errors() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.wrong)
}
