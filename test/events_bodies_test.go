package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"
)

// hostileTopics are names that mean something to one system or another, and
// whether they are topics.
func hostileTopics() map[string]bool {
	return map[string]bool{
		"*": false, ">": false, "#": false, "+": false, "orders.*": false, "orders.>": false, "*.orders": false, "orders.#": false,
		"or*ders": false, "orders>": false, "**": false,
		"a b": false, " orders": false, "orders ": false, "a\tb": false, "a\nb": false, "a\r\nb": false, "a\x00b": false, "a\u00a0b": false, "a\u2028b": false,
		"$SYS": false, "$JS.API.STREAM.DELETE.EVENTS": false, "_INBOX.a": false, "_dead-letters": false,
		"": false, ".": false, "..": false, "a..b": false, ".a": false, "a.": false, "a\xffb": false,
		strings.Repeat("x", 201): false, strings.Repeat("ü", 101): false,
		"bestellungen.größe": true, "注文": true, "😀": true, "e\u0301": true, "\u00e9": true, "a/b": true, `a"b`: true, "a\\b": true,
		"a%2Fb": true, "a?b=c&d": true, "a;b": true, "<script>": false, "{{x}}": true, strings.Repeat("x", 200): true, "Orders": true, "a:b@c": true,
	}
}

// TestATopicIsNeverAWildcard publishes on hostile topics through all mounts, and
// looks at the bus: what was accepted is there once, on that topic, and nothing
// else is.
func TestATopicIsNeverAWildcard(t *testing.T) {
	p := startGateway(t, "--nats", "127.0.0.1:0", "--mount", "/events=event", "--mount", "/cloudevents=cloudevents", "--mount", "/broker=broker",
		"--publish", "**", "--subscribe", "**")
	bus := watchBus(t, p.nats)
	want := make(map[string]int) // messages by subject
	for topic, valid := range hostileTopics() {
		for _, mount := range []string{"/events/" + url.PathEscape(topic) + "/x", "/cloudevents/" + url.PathEscape(topic), "/broker?topic=" + url.QueryEscape(topic)} {
			if mount == "/cloudevents/" || mount == "/events//x" {
				mount += "/"
			}
			got := p.post(p.address, mount, "hello", "Content-Type", "text/plain")
			switch {
			case valid && got.status == http.StatusAccepted:
				want["events."+topic]++
			case valid, got.status != http.StatusBadRequest && got.status != http.StatusForbidden:
				t.Errorf("POST %s = %v, want it accepted: %t", mount, got, valid)
			case !strings.Contains(got.body, `"detail":"`):
				t.Errorf("POST %s = %v, want a reason", mount, got)
			}
		}
		status := http.StatusOK
		if !valid {
			status = http.StatusBadRequest
		}
		if got := p.streamStatus("/broker?topic=" + url.QueryEscape(topic)); got != status && (valid || got != http.StatusForbidden) {
			t.Errorf("GET of events of %q = %d, want %d", topic, got, status)
		}
	}
	for subject, n := range bus.until(t, p) {
		if want[subject] != n {
			t.Errorf("the bus has %d messages on %q, want %d", n, subject, want[subject])
		}
		delete(want, subject)
	}
	for subject, n := range want {
		t.Errorf("the bus has no message on %q, want %d", subject, n)
	}
}

// TestASubscriberGetsItsTopicOnly publishes on topics that look alike, and reads
// each.
func TestASubscriberGetsItsTopicOnly(t *testing.T) {
	p := startGateway(t, "--mount", "/broker=broker", "--publish", "**", "--subscribe", "**")
	topics := []string{"orders", "orders.made", "orders.made.now", "Orders", "order", "ordersx", "e\u0301", "\u00e9", "a.b", "a/b", "a%2Eb"}
	streams := make(map[string]*eventSource)
	for _, topic := range topics {
		streams[topic] = p.subscribe(p.address, "/broker?topic="+url.QueryEscape(topic))
	}
	for _, topic := range topics {
		if got := p.post(p.address, "/broker?topic="+url.QueryEscape(topic), topic); got.status != http.StatusAccepted {
			t.Fatalf("POST on %s = %v", topic, got)
		}
	}
	for _, topic := range topics {
		if m := p.receive(streams[topic]); m.topic != topic || m.body != topic {
			t.Errorf("the subscriber of %q got %+v", topic, m)
		}
		if got := bodies(p.published(topic)); len(got) != 1 || got[0] != topic {
			t.Errorf("the history of %q is %q, want its own message", topic, got)
		}
	}
}

// A busWatcher sees all that is published on a bus.
type busWatcher struct {
	conn     *natsgo.Conn
	messages chan *natsgo.Msg
}

func watchBus(t *testing.T, address string) *busWatcher {
	t.Helper()
	conn, err := natsgo.Connect("nats://" + address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	w := &busWatcher{conn: conn, messages: make(chan *natsgo.Msg, 4096)}
	for _, subject := range []string{"events.>", "events", "orders.>", "*"} {
		if _, err := conn.ChanSubscribe(subject, w.messages); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return w
}

// until publishes a last message, and returns how many came before on each
// subject.
func (w *busWatcher) until(t *testing.T, p *process) map[string]int {
	t.Helper()
	if _, stderr, status := p.command("publish", "last", "hello"); status != 0 {
		t.Fatalf("publish = %d %s", status, stderr)
	}
	subjects := make(map[string]int)
	for m := range w.messages {
		if m.Subject == "events.last" {
			return subjects
		}
		subjects[m.Subject]++
	}
	return nil
}

// TestBodiesArriveAsTheyAreOrAreRefused posts bodies of all kinds through all
// mounts: what is accepted arrives as it was sent, and what is not has a reason.
func TestBodiesArriveAsTheyAreOrAreRefused(t *testing.T) {
	p := startGateway(t, "--mount", "/events=event", "--mount", "/cloudevents=cloudevents", "--mount", "/broker=broker", "--publish", "**")
	const mib = 1 << 20
	const accepted, large, binary = http.StatusAccepted, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType
	for i, tt := range []struct {
		name                       string
		body                       string
		event, cloudevents, broker int
	}{
		{"empty", "", accepted, accepted, accepted},
		{"space", " \n", accepted, accepted, accepted},
		{"text", "ü <&> \u2028 \"\\", accepted, accepted, accepted},
		{"zero", "a\x00b", accepted, accepted, accepted},
		{"lines of events", "a\r\n\r\ndata: {}\n\nid: 7\n\n", accepted, accepted, accepted},
		{"not UTF-8", "\xff\xfe\x00", binary, accepted, accepted},
		{"half a character", "\xc3", binary, accepted, accepted},
		{"half MiB of text", strings.Repeat("x", mib/2), accepted, accepted, accepted},
		{"half MiB of bytes", strings.Repeat("\xff", mib/2), binary, accepted, accepted},
		{"a MiB", strings.Repeat("x", mib), large, large, large},
		{"a MiB and a byte", strings.Repeat("x", mib+1), large, large, large},
		{"10 MiB", strings.Repeat("x", 10*mib), large, large, large},
		{"10 MiB of bytes", strings.Repeat("\xff", 10*mib), large, large, large},
	} {
		t.Run(tt.name, func(t *testing.T) {
			topic := fmt.Sprint("t", i)
			var want int
			for path, status := range map[string]int{"/events/": tt.event, "/cloudevents/": tt.cloudevents, "/broker?topic=": tt.broker} {
				got := p.post(p.address, path+topic, tt.body, "Content-Type", "text/plain")
				if got.status != status || status != accepted && !strings.Contains(got.body, `"detail":"`) {
					t.Errorf("POST %s = %v, want %d", path, got, status)
				}
				if status == accepted {
					want++
				}
			}
			got := p.published(topic)
			if len(got) != want {
				t.Errorf("%d messages arrived, want %d", len(got), want)
			}
			for _, m := range got {
				if body := bodyOf(t, m); body != tt.body {
					t.Errorf("%.100q arrived, want %.100q", body, tt.body)
				}
			}
		})
	}
}

// bodyOf returns the body of the request that a message was.
func bodyOf(t *testing.T, m message) string {
	t.Helper()
	if !json.Valid([]byte(m.body)) || m.header["Content-Type"] == "text/plain" {
		return m.body
	}
	var e struct {
		Data json.RawMessage `json:"data"`
	}
	var facts struct {
		Body   string `json:"body"`
		Base64 []byte `json:"body_base64"`
	}
	if err := json.Unmarshal([]byte(m.body), &e); err != nil {
		t.Fatalf("message %.200q: %v", m.body, err)
	}
	var text string
	if len(e.Data) == 0 || json.Unmarshal(e.Data, &text) == nil { // a go.api.Event
		return text
	}
	if err := json.Unmarshal(e.Data, &facts); err != nil {
		t.Fatalf("data %.200q: %v", e.Data, err)
	}
	return facts.Body + string(facts.Base64)
}

// TestHeadersArriveOrAreRefused posts headers of all kinds as they are, through
// all mounts. The gateway serves on after each.
func TestHeadersArriveOrAreRefused(t *testing.T) {
	p := startGateway(t, "--mount", "/events=event", "--mount", "/cloudevents=cloudevents", "--mount", "/broker=broker", "--publish", "**")
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "X-%d: %d\r\n", i, i)
		}
		return b.String()
	}
	for _, tt := range []struct {
		name, header string
		want         string // statuses
	}{
		{"100", many(100), "202"},
		{"10,000", many(10_000), "431"},
		{"one of 20 KiB", "X-Long: " + strings.Repeat("x", 20<<10) + "\r\n", "202"},
		{"one of 80 KiB", "X-Long: " + strings.Repeat("x", 80<<10) + "\r\n", "431"},
		{"not UTF-8", "X-Bytes: \xff\xfe\r\n", "415 400"},
		{"UTF-8", "X-Text: ü😀\r\n", "202"},
		{"a name with a space", "X y: 1\r\n", "400"},
		{"a line in a value", "X-Folded: a\r\n b\r\n", "400 202"},
		{"NATS", "Nats-Rollup: all\r\nNats-Expected-Stream: OTHER\r\nNats-Msg-Id: 1\r\nStatus: 503\r\n", "202"},
		{"go-micro", "Micro-Topic: other\r\nMicro-Id: 1\r\nX-Micro-Topic: other\r\n", "202"},
		{"two keys", "Idempotency-Key: a\r\nIdempotency-Key: b\r\n", "400"},
		{"a key of bytes", "Idempotency-Key: \xff\r\n", "400 415"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{"/events/orders", "/cloudevents/orders", "/broker?topic=orders"} {
				if got := p.raw(path, tt.header); !strings.Contains(tt.want, got) || got == "" {
					t.Errorf("POST %s = %s, want %s", path, got, tt.want)
				}
				if got := p.raw(path, ""); got != "202" {
					t.Errorf("POST %s afterwards = %s, want 202", path, got)
				}
			}
		})
	}
	for _, m := range p.published("orders") {
		if m.topic != "orders" || m.id == "1" || m.header["X-Micro-Topic"] != "" {
			t.Errorf("%+v was published, want the topic and an ID of the gateway's", m)
		}
	}
}

// raw sends a POST with header lines as they are, and returns the status.
func (p *process) raw(path, header string) string {
	p.t.Helper()
	conn, err := new(net.Dialer).DialContext(p.t.Context(), "tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	answer := rawRequest(p.t, conn, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n"+header+"\r\nhello")
	_, rest, _ := strings.Cut(answer, " ")
	status, _, _ := strings.Cut(rest, " ")
	return status
}

// TestBodiesWithoutAnEnd sends bodies that are longer than they say, or say
// nothing: none is held for long, and none is published in part.
func TestBodiesWithoutAnEnd(t *testing.T) {
	p := startGateway(t, "--mount", "/events=event", "--mount", "/broker=broker", "--publish", "**")
	for _, path := range []string{"/events/orders", "/broker?topic=orders"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.address+path, io.MultiReader(endless{}))
		if err != nil {
			t.Fatal(err)
		}
		rsp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("POST %s of an endless body: %v", path, err)
		}
		_ = rsp.Body.Close()
		if rsp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("POST %s of an endless body = %s, want 413", path, rsp.Status)
		}
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	if got := p.published("orders"); len(got) != 0 {
		t.Errorf("%q was published, want nothing", bodies(got))
	}
}

// endless is a body that does not end.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	return copy(b, bytes.Repeat([]byte("x"), len(b))), nil
}
