package test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// TestOperatorsBrokerNeedsTheToken asks for the broker of the admin listener
// with and without its token.
func TestOperatorsBrokerNeedsTheToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startGateway(t, "--admin-token-file", file)
	const path = "/broker?topic=orders"
	for _, tt := range []struct {
		name   string
		header []string
		post   int
		get    int
	}{
		{"none", nil, http.StatusUnauthorized, http.StatusUnauthorized},
		{"wrong", []string{"Authorization", "Bearer open"}, http.StatusUnauthorized, http.StatusUnauthorized},
		{"right, and no Accept", []string{"Authorization", "Bearer sesame"}, http.StatusAccepted, http.StatusNotAcceptable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.post(p.admin, path, "hello", tt.header...); got.status != tt.post {
				t.Errorf("POST = %v, want %d", got, tt.post)
			}
			if got := p.request(http.MethodGet, p.admin, path, "", tt.header...); got.status != tt.get {
				t.Errorf("GET = %v, want %d", got, tt.get)
			}
		})
	}
	if _, stderr, status := p.command("publish", "orders", "hello"); status != 1 || !strings.Contains(stderr, "token") {
		t.Errorf("publish without the token = %d %q, want 1 and a word of it", status, stderr)
	}
	t.Setenv("GOAPI_ADMIN_TOKEN", "sesame")
	if out, stderr, status := p.command("publish", "orders", "hello"); status != 0 {
		t.Errorf("publish with the token = %d %q %q, want 0", status, out, stderr)
	}
	if out, stderr, status := p.command("subscribe", "orders", "--from", "earliest", "-n", "2", "--raw"); status != 0 || out != "hello\nhello\n" {
		t.Errorf("subscribe with the token = %d %q %q, want both messages", status, out, stderr)
	}
	m := p.receive(p.subscribe(p.admin, path+"&from=earliest", "Authorization", "Bearer sesame"))
	for name, value := range m.header {
		if strings.Contains(value, "sesame") {
			t.Errorf("the message has the token in its header %s: %s", name, value)
		}
	}
}

// TestPagesOfOthersGetNoBroker sends what a browser would send for the page of
// another site, to operators' broker and to a public one.
func TestPagesOfOthersGetNoBroker(t *testing.T) {
	p := startGateway(t, "--mount", "/broker=broker", "--publish", "orders", "--subscribe", "orders", "--origin", "https://app.example")
	const path = "/broker?topic=orders"
	for _, tt := range []struct {
		name, address, header, value string
		refused                      bool
	}{
		{"admin, foreign", p.admin, "Origin", "https://evil.example", true},
		{"admin, listed for the public", p.admin, "Origin", "https://app.example", true},
		{"admin, null", p.admin, "Origin", "null", true},
		{"admin, cross-site", p.admin, "Sec-Fetch-Site", "cross-site", true},
		{"admin, through a proxy", p.admin, "X-Forwarded-For", "192.0.2.1", true},
		{"admin, itself", p.admin, "Origin", "http://" + p.admin, false},
		{"public, foreign", p.address, "Origin", "https://evil.example", true},
		{"public, null", p.address, "Origin", "null", true},
		{"public, listed", p.address, "Origin", "https://app.example", false},
		{"public, itself", p.address, "Origin", "http://" + p.address, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want, socket := http.StatusAccepted, http.StatusSwitchingProtocols
			if tt.refused {
				want, socket = http.StatusForbidden, http.StatusForbidden
			}
			if got := p.post(tt.address, path, "hello", tt.header, tt.value); got.status != want {
				t.Errorf("POST = %v, want %d", got, want)
			}
			got := p.request(http.MethodGet, tt.address, path, "", tt.header, tt.value, "Accept", "text/html")
			if tt.refused != (got.status == http.StatusForbidden) {
				t.Errorf("GET = %v, want it refused: %t", got, tt.refused)
			}
			c, rsp, err := websocket.Dial(t.Context(), "ws://"+tt.address+path, &websocket.DialOptions{HTTPHeader: http.Header{tt.header: {tt.value}}})
			if err == nil {
				_ = c.CloseNow()
			}
			if rsp == nil || rsp.StatusCode != socket {
				t.Errorf("WebSocket = %v %v, want %d", rsp, err, socket)
			}
		})
	}
}

// TestPublicEventsHaveTwoLists asks a public mount for events on topics that
// may be published on, received, both, or neither.
func TestPublicEventsHaveTwoLists(t *testing.T) {
	p := startGateway(t, "--mount", "/bus=broker?group=workers", "--publish", "in", "--publish", "both", "--subscribe", "out", "--subscribe", "both")
	for _, tt := range []struct {
		topic               string
		publish, subscribed int
	}{
		{"in", http.StatusAccepted, http.StatusForbidden},
		{"out", http.StatusForbidden, http.StatusOK},
		{"both", http.StatusAccepted, http.StatusOK},
		{"neither", http.StatusForbidden, http.StatusForbidden},
		{"_dead-letters", http.StatusForbidden, http.StatusForbidden},
		{"*", http.StatusBadRequest, http.StatusBadRequest},
		{"%3E", http.StatusBadRequest, http.StatusBadRequest},
		{"both.%3E", http.StatusBadRequest, http.StatusBadRequest},
	} {
		t.Run(tt.topic, func(t *testing.T) {
			path := "/bus?topic=" + tt.topic
			if got := p.post(p.address, path, "hello"); got.status != tt.publish {
				t.Errorf("POST = %v, want %d", got, tt.publish)
			}
			if got := p.streamStatus(path); got != tt.subscribed {
				t.Errorf("GET of events = %d, want %d", got, tt.subscribed)
			}
			for group, allowed := range map[string]bool{"workers": true, "others": false} {
				want := tt.subscribed
				if !allowed && want == http.StatusOK {
					want = http.StatusForbidden
				}
				if got := p.streamStatus(path + "&queue=" + group); got != want {
					t.Errorf("GET of events in the group %s = %d, want %d", group, got, want)
				}
			}
		})
	}
}

// streamStatus opens a stream of events and closes it.
func (p *process) streamStatus(path string) int {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+p.address+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = rsp.Body.Close() // it has no end
	return rsp.StatusCode
}

// TestPublicWebSocketsHaveTwoLists opens WebSockets on topics that may be
// published on, received, or both.
func TestPublicWebSocketsHaveTwoLists(t *testing.T) {
	p := startGateway(t, "--mount", "/bus=broker", "--publish", "in", "--publish", "both", "--subscribe", "out", "--subscribe", "both")
	t.Run("in", func(t *testing.T) {
		_, rsp, err := websocket.Dial(t.Context(), "ws://"+p.address+"/bus?topic=in", nil)
		if err == nil || rsp == nil || rsp.StatusCode != http.StatusForbidden {
			t.Errorf("WebSocket = %v %v, want 403", rsp, err)
		}
	})
	t.Run("out", func(t *testing.T) {
		c, _ := p.open("/bus?topic=out", nil)
		if out, stderr, status := p.command("publish", "out", "from within"); status != 0 {
			t.Fatalf("publish = %d %s%s", status, out, stderr)
		}
		if m := readFrame(t, c); m.body != "from within" || m.topic != "out" {
			t.Errorf("the WebSocket got %+v, want the message", m)
		}
		if err := c.Write(t.Context(), websocket.MessageText, []byte("from outside")); err != nil {
			t.Fatal(err)
		}
		if _, b, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("Read after publishing = %q %v, want a close frame that says why", b, err)
		}
		if got := bodies(p.published("out")); len(got) != 1 {
			t.Errorf("out has %q, want only what came from within", got)
		}
	})
	t.Run("both", func(t *testing.T) {
		c, _ := p.open("/bus?topic=both", nil)
		raw, _ := p.open("/bus?topic=both", &websocket.DialOptions{Subprotocols: []string{"raw"}})
		if err := c.Write(t.Context(), websocket.MessageText, []byte("to all")); err != nil {
			t.Fatal(err)
		}
		if m := readFrame(t, c); m.body != "to all" || m.id == "" {
			t.Errorf("the WebSocket got %+v, want its own message", m)
		}
		if _, b, err := raw.Read(t.Context()); err != nil || string(b) != "to all" {
			t.Errorf("the raw WebSocket got %q %v, want the body", b, err)
		}
	})
}

// readFrame reads a message from a WebSocket.
func readFrame(t *testing.T, c *websocket.Conn) message {
	t.Helper()
	_, b, err := c.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var m message
	if err := m.decode(b); err != nil {
		t.Fatalf("frame %q: %v", b, err)
	}
	return m
}

// TestEventsResumeWhereTheyEnded reads a topic in pieces, each after the last
// event of the one before.
func TestEventsResumeWhereTheyEnded(t *testing.T) {
	p := startGateway(t, "--mount", "/bus=broker", "--publish", "**", "--subscribe", "**")
	var want, got []string
	for i := range 20 {
		body := strings.Repeat("x", i)
		want = append(want, body)
		for _, topic := range []string{"orders", "others"} { // positions are of both
			if r := p.post(p.address, "/bus?topic="+topic, body); r.status != http.StatusAccepted {
				t.Fatalf("POST = %v", r)
			}
		}
	}
	header, path := []string{}, "/bus?topic=orders&from=earliest"
	for len(got) < len(want) {
		s := p.subscribe(p.address, path, header...)
		for range 5 {
			m := p.receive(s)
			got, header = append(got, m.body), []string{"Last-Event-ID", m.position}
		}
		s.close()
	}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		t.Errorf("read in pieces: %q, want %q", got, want)
	}
	if r := p.request(http.MethodGet, p.address, path, "", "Accept", "text/event-stream", "Last-Event-ID", "nosuch-1"); r.status != http.StatusGone {
		t.Errorf("GET after an unknown position = %v, want 410", r)
	}
}

// TestAGroupSharesAndKeepsItsPlace has a member of a group, then none, then
// another, which gets what the first one did not; what the first one got before
// it left may come again.
func TestAGroupSharesAndKeepsItsPlace(t *testing.T) {
	p := startGateway(t, "--mount", "/bus=broker?group=workers", "--publish", "**", "--subscribe", "**")
	const path = "/bus?topic=orders&queue=workers"
	var left net.Conn // whose end has no delay, as that of a response may have
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		left, err = new(net.Dialer).DialContext(ctx, network, address)
		return left, err
	}}}
	one, err := openEvents(t.Context(), client, "http://"+p.address+path)
	if err != nil {
		t.Fatal(err)
	}
	if r := p.post(p.address, "/bus?topic=orders", "first"); r.status != http.StatusAccepted {
		t.Fatalf("POST = %v", r)
	}
	first := p.receive(one)
	if first.body != "first" || first.position != "" {
		t.Errorf("the group got %+v, want the first message, without a position that an EventSource would bring back", first)
	}
	_ = left.Close()
	one.close()
	if r := p.post(p.address, "/bus?topic=orders", "second"); r.status != http.StatusAccepted {
		t.Fatalf("POST = %v", r)
	}
	two := p.subscribe(p.address, path)
	for m := p.receive(two); m.body != "second"; m = p.receive(two) {
		if m.id != first.id {
			t.Errorf("the group got %+v, want what was published while nobody was there", m)
		}
	}
}

// TestAGroupsMemberThatAskedForOne has members come one after the other, each
// for one message: no message comes twice, and none is left out.
func TestAGroupsMemberThatAskedForOne(t *testing.T) {
	p := startGateway(t)
	const path = "/broker?topic=orders"
	for _, body := range []string{"a", "b", "c"} {
		if r := p.post(p.admin, path, body); r.status != http.StatusAccepted {
			t.Fatalf("POST = %v", r)
		}
	}
	for _, want := range []string{"a", "b", "c"} {
		s := p.subscribe(p.admin, path+"&queue=workers&from=earliest&max=1")
		if m := p.receive(s); m.body != want {
			t.Errorf("the group got %q, want %q", m.body, want)
		}
		if m, err := s.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("then came %+v, %v; want the end", m, err)
		}
	}
}
