package handler_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
)

const greeter = `{"name":"greeter","version":"1","metadata":null,"endpoints":null,` +
	`"nodes":[{"id":"greeter-1","address":"10.0.0.1:80","metadata":null}]}`

// ask sends a request to a registry handler without a server.
func ask(h http.Handler, method, query, kind, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), method, "/registry"+query, strings.NewReader(body))
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRegistryAnnouncesAndFinds(t *testing.T) {
	h := handler.Registry(new(registry.Memory), nil)
	two := strings.ReplaceAll(greeter, "greeter-1", "greeter-2")
	steps := []struct {
		method, query, body string
		status              int
		want                string
	}{
		{"GET", "", "", 200, "[]\n"},
		{"GET", "?service=greeter", "", 404, ""},
		{"POST", "", greeter, 200, "{}\n"},
		{"POST", "?ttl=30s", two, 200, "{}\n"},
		{"GET", "?service=greeter", "", 200, ""},
		{"DELETE", "", two, 200, "{}\n"},
		{"DELETE", "", two, 200, "{}\n"},
		{"GET", "?service=greeter", "", 200, "[" + greeter + "]\n"},
		{"GET", "", "", 200, "[" + greeter + "]\n"},
		{"HEAD", "", "", 200, ""},
		{"DELETE", "?service=greeter&node=greeter-1", "", 200, "{}\n"},
		{"GET", "?service=greeter", "", 404, ""},
	}
	for _, s := range steps {
		w := ask(h, s.method, s.query, "application/json; charset=utf-8", s.body)
		if w.Code != s.status || s.want != "" && w.Body.String() != s.want {
			t.Errorf("%s %s = %d %s, want %d %s", s.method, s.query, w.Code, w.Body, s.status, s.want)
		}
		if s.method == "HEAD" && (w.Body.Len() != 0 || w.Header().Get("Content-Length") == "") {
			t.Errorf("HEAD = %v %q, want a length and no body", w.Header(), w.Body)
		}
	}
}

// joined is a registry that is read as one with others.
type joined struct {
	registry.Memory

	members []registry.MemberState
}

func (j *joined) Members() []registry.MemberState { return j.members }

func TestRegistryNamesWhatIsLost(t *testing.T) {
	gone := errors.New("secret of the registry")
	tests := []struct {
		name    string
		members []registry.MemberState
		want    string
	}{
		{"one", nil, ""},
		{"all there", []registry.MemberState{{Name: "a:", Ready: true}, {Name: "b:", Ready: true}}, ""},
		{"not asked yet", []registry.MemberState{{Name: "a:"}}, ""},
		{"lost", []registry.MemberState{{Name: "a:", Err: gone}, {Name: "b:", Ready: true}, {Name: "c:", Err: gone}}, "a:, c:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := handler.Registry(&joined{members: tt.members}, nil)
			w := ask(h, "GET", "", "", "")
			if got := w.Header().Get("Goapi-Incomplete"); got != tt.want || w.Code != http.StatusOK || w.Body.String() != "[]\n" {
				t.Errorf("GET = %d %s with Goapi-Incomplete %q, want 200 [] with %q", w.Code, w.Body, got, tt.want)
			}
		})
	}
}

func TestRegistryRefuses(t *testing.T) {
	const kind = "application/json"
	tests := []struct {
		name, method, query, kind, body string
		status                          int
		want                            string // in the detail
	}{
		{"PUT", "PUT", "", kind, greeter, 405, "GET, HEAD, POST, DELETE"},
		{"no type", "POST", "", "", greeter, 415, "application/json"},
		{"a form", "POST", "", "application/x-www-form-urlencoded", "a=b", 415, "application/json"},
		{"text", "DELETE", "", "text/plain", greeter, 415, "application/json"},
		{"no JSON", "POST", "", kind, `{"name":"a"`, 400, "JSON"},
		{"two values", "POST", "", kind, greeter + greeter, 400, fmt.Sprintf("byte %d", len(greeter)+1)},
		{"an array", "POST", "", kind, "[]", 400, "service"},
		{"null", "POST", "", kind, "null", 400, "name"},
		{"nothing", "POST", "", kind, "", 400, "JSON"},
		{"a wrong type", "POST", "", kind, `{"name":1}`, 400, "name: it cannot be a JSON number"},
		{"a wrong type within", "POST", "", kind, `{"name":"a","nodes":[{},{"id":"a","address":1}]}`, 400, "nodes[1].address: it cannot be a JSON number"},
		{"a wrong type of an endpoint", "POST", "", kind, `{"name":"a","endpoints":["A.B"]}`, 400, "endpoints[0]: it cannot be a JSON string"},
		{"no name", "POST", "", kind, strings.Replace(greeter, "greeter", "", 1), 400, "name: "},
		{"no node", "POST", "", kind, `{"name":"a"}`, 400, "nodes: "},
		{"no node to withdraw", "DELETE", "", kind, `{"name":"a"}`, 400, "nodes: "},
		{"no id to withdraw", "DELETE", "", kind, `{"name":"a","nodes":[{"address":"a:1"}]}`, 400, "nodes[0].id: "},
		{"no name to withdraw", "DELETE", "", kind, `{"nodes":[{"id":"a"}]}`, 400, "name: "},
		{"half of what to withdraw", "DELETE", "?service=a", "", "", 400, "node"},
		{"no id", "POST", "", kind, strings.Replace(greeter, "greeter-1", "", 1), 400, "nodes[0].id: "},
		{"no address", "POST", "", kind, strings.Replace(greeter, "10.0.0.1:80", "", 1), 400, "nodes[0].address: "},
		{"no port", "POST", "", kind, strings.Replace(greeter, "10.0.0.1:80", "10.0.0.1", 1), 400, "nodes[0].address: "},
		{"link-local", "POST", "", kind, strings.Replace(greeter, "10.0.0.1", "169.254.169.254", 1), 400, "nodes[0].address: "},
		{"too long", "POST", "", kind, `{"name":"` + strings.Repeat("a", 1<<20) + `"}`, 413, "1048576"},
		{"a TTL without a unit", "POST", "?ttl=30", kind, greeter, 400, "ttl: "},
		{"a TTL too short", "POST", "?ttl=999ms", kind, greeter, 400, "ttl: "},
		{"a TTL too long", "POST", "?ttl=25h", kind, greeter, 400, "ttl: "},
		{"a negative TTL", "POST", "?ttl=-30s", kind, greeter, 400, "ttl: "},
		{"an empty TTL", "POST", "?ttl=", kind, greeter, 400, "ttl: "},
		{"two TTLs", "POST", "?ttl=30s&ttl=1h", kind, greeter, 400, "ttl: "},
		{"a typo", "POST", "?tll=30s", kind, greeter, 400, `"tll"`},
		{"a typo in a question", "GET", "?servce=a", "", "", 400, `"servce"`},
		{"a bad query", "GET", "?%zz", "", "", 400, "query"},
		{"an empty name", "GET", "?service=", "", "", 400, "service: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reg := new(lax)
			w := ask(handler.Registry(reg, nil), tt.method, tt.query, tt.kind, tt.body)
			var e struct{ Detail string }
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != tt.status || !strings.Contains(e.Detail, tt.want) && tt.status != 405 {
				t.Errorf("answer = %d %s, want %d about %s", w.Code, w.Body, tt.status, tt.want)
			}
			if tt.status == 405 && w.Header().Get("Allow") != tt.want {
				t.Errorf("Allow = %q, want %q", w.Header().Get("Allow"), tt.want)
			}
			if reg.changes != 0 {
				t.Error("the registry was changed")
			}
		})
	}
}

// lax is a registry that takes anything.
type lax struct {
	registry.Memory

	changes int
}

func (l *lax) Register(context.Context, *registry.Service, time.Duration) error {
	l.changes++
	return nil
}

func (l *lax) Deregister(context.Context, *registry.Service) error {
	l.changes++
	return nil
}

// failing is a registry that fails.
type failing struct {
	registry.Memory

	err error
}

func (f *failing) Register(context.Context, *registry.Service, time.Duration) error { return f.err }
func (f *failing) List(context.Context) ([]*registry.Service, error)                { return nil, f.err }
func (f *failing) Watch(context.Context) (registry.Watcher, error)                  { return nil, f.err }

func TestRegistryFails(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		status int
	}{
		{"too large", fmt.Errorf("nats: %w", registry.ErrTooLarge), 413},
		{"read-only", fmt.Errorf("%w: a file", registry.ErrReadOnly), 405},
		{"unavailable", fmt.Errorf("nats: %w", registry.ErrUnavailable), 503},
		{"closed", registry.ErrClosed, 503},
		{"slow", context.DeadlineExceeded, 504},
		{"a field", &registry.FieldError{Field: "metadata", Reason: "it is odd"}, 400},
		{"a defect", errors.New("nil map at 10.0.0.1"), 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := handler.Registry(&failing{err: tt.err}, nil)
			stream := httptest.NewRequestWithContext(context.Background(), "GET", "/", nil)
			stream.Header.Set("Accept", "text/event-stream")
			watched := httptest.NewRecorder()
			h.ServeHTTP(watched, stream)
			for _, w := range []*httptest.ResponseRecorder{
				watched, ask(h, "GET", "", "", ""), ask(h, "POST", "", "application/json", greeter),
			} {
				if w.Code != tt.status || strings.Contains(w.Body.String(), "10.0.0.1") {
					t.Errorf("answer = %d %s, want %d", w.Code, w.Body, tt.status)
				}
				if retry := w.Header().Get("Retry-After"); (retry != "") != (tt.status == 503) {
					t.Errorf("Retry-After = %q with %d", retry, w.Code)
				}
			}
		})
	}
}

// follower is a client that follows changes: it returns the next event.
type follower func() (string, error)

// followers are the ways to follow changes.
var followers = map[string]func(t *testing.T, url string) follower{
	"events":    followEvents,
	"WebSocket": followWebSocket,
}

func followEvents(t *testing.T, url string) follower {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json;q=0.5, text/event-stream")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("answer = %d %s, want 200 text/event-stream", resp.StatusCode, got)
	}
	r := bufio.NewReader(resp.Body)
	return func() (string, error) {
		for {
			line, err := r.ReadString('\n')
			if data, ok := strings.CutPrefix(line, "data: "); ok || err != nil {
				return strings.TrimSpace(data), err
			}
		}
	}
}

func followWebSocket(t *testing.T, url string) follower {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	c, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return func() (string, error) {
		kind, data, err := c.Read(ctx)
		if err == nil && kind != websocket.MessageText {
			return "", fmt.Errorf("a message of type %v", kind)
		}
		return string(data), err
	}
}

func TestRegistryStreamsChanges(t *testing.T) {
	service := func(version string, ids ...string) *registry.Service {
		s := &registry.Service{Name: "greeter", Version: version}
		for _, id := range ids {
			s.Nodes = append(s.Nodes, &registry.Node{ID: id, Address: "10.0.0.1:80"})
		}
		return s
	}
	for name, follow := range followers {
		t.Run(name, func(t *testing.T) {
			reg := new(registry.Memory)
			done := make(chan struct{})
			url := "http://" + listen(t, handler.Registry(reg, &handler.RegistryOptions{Done: done, Heartbeat: 50 * time.Millisecond}))
			change := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			ctx := t.Context()
			change(reg.Register(ctx, service("1", "a", "b"), 0))
			change(reg.Register(ctx, &registry.Service{Name: "other", Nodes: service("", "x").Nodes}, 0))
			next, named := follow(t, url), follow(t, url+"?service=greeter")
			steps := []struct {
				change func() error
				want   []string // action, version, ids
			}{
				{func() error { return nil }, []string{"create greeter 1 a b", "create other  x"}},
				{func() error { return reg.Register(ctx, service("2", "c"), 0) }, []string{"create greeter 2 c"}},
				{func() error { return reg.Register(ctx, service("2", "d"), 0) }, []string{"update greeter 2 c d"}},
				{func() error { return reg.Deregister(ctx, service("1", "a")) }, []string{"delete greeter 1 a", "update greeter 1 b"}},
				{func() error { return reg.Deregister(ctx, service("1", "b")) }, []string{"delete greeter 1 b"}},
			}
			for _, s := range steps {
				change(s.change())
				for _, want := range s.want {
					expectEvent(t, next, want)
					if !strings.Contains(want, "other") {
						expectEvent(t, named, want)
					}
				}
			}
			close(done)
			for _, f := range []follower{next, named} {
				if got, err := f(); err == nil {
					t.Errorf("after the end: %q, want an error", got)
				}
			}
		})
	}
}

func expectEvent(t *testing.T, next follower, want string) {
	t.Helper()
	text, err := next()
	if err != nil {
		t.Fatalf("no event, but %v; want %s", err, want)
	}
	if !strings.HasPrefix(text, `{"Action":"`) || !strings.Contains(text, `,"Service":{"name":`) {
		t.Errorf("event = %s, want Action and Service", text)
	}
	var e struct {
		Action  string
		Service registry.Service
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	got := e.Action + " " + e.Service.Name + " " + e.Service.Version
	for _, n := range e.Service.Nodes {
		got += " " + n.ID
	}
	if got != want {
		t.Errorf("event = %s, want %s", got, want)
	}
}

// TestRegistryStreamEnds has the ways in which a stream ends but for Done.
func TestRegistryStreamEnds(t *testing.T) {
	t.Run("with the registry", func(t *testing.T) {
		for name, follow := range followers {
			reg := &closable{closed: make(chan struct{})}
			next := follow(t, "http://"+listen(t, handler.Registry(reg, nil)))
			close(reg.closed)
			if got, err := next(); err == nil {
				t.Errorf("%s: %q, want an error", name, got)
			}
		}
	})
	t.Run("with a client that reads nothing", func(t *testing.T) {
		reg := new(registry.Memory)
		s := &registry.Service{Name: "a", Nodes: []*registry.Node{{ID: "a", Address: "10.0.0.1:80", Metadata: map[string]string{"a": strings.Repeat("a", 6<<20)}}}}
		if err := reg.Register(t.Context(), s, 0); err != nil {
			t.Fatal(err)
		}
		ended := make(chan string, 1)
		h := handler.Registry(reg, &handler.RegistryOptions{Heartbeat: 100 * time.Millisecond})
		c := dial(t, listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r)
			ended <- "by the handler"
		})))
		if tcp, ok := c.(*net.TCPConn); !ok || tcp.SetReadBuffer(4<<10) != nil {
			t.Fatal("the connection has no buffer to make small")
		}
		send(t, c, "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
		receive(t, ended)
	})
	t.Run("with a client that says something", func(t *testing.T) {
		url := "http://" + listen(t, handler.Registry(new(registry.Memory), nil))
		c, _, err := websocket.Dial(t.Context(), url, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.CloseNow() }()
		if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			t.Errorf("Read() = %v, want a policy violation", err)
		}
	})
}

// closable is a registry whose watchers end.
type closable struct {
	registry.Memory

	closed chan struct{}
}

func (c *closable) Watch(context.Context) (registry.Watcher, error) { return c, nil }
func (c *closable) Next(context.Context) ([]*registry.Service, error) {
	<-c.closed
	return nil, registry.ErrClosed
}
func (c *closable) Close() error { return nil }

func TestRegistryStreamIsRefused(t *testing.T) {
	h := handler.Registry(new(registry.Memory), &handler.RegistryOptions{Streams: 1})
	address := listen(t, h)
	const upgrade = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	tests := []struct {
		name, request string
		want          int
	}{
		{"another origin", upgrade + "Origin: http://evil.example\r\n\r\n", 403},
		{"another port", upgrade + "Origin: http://a.test:81\r\n\r\n", 403},
		{"no origin at all", upgrade + "Origin: null\r\n\r\n", 403},
		{"another version", strings.Replace(upgrade, "13", "12", 1) + "\r\n", 426},
		{"a POST", strings.Replace(upgrade, "GET", "POST", 1) + "\r\n", 415},
		{"a typo", strings.Replace(upgrade, "GET /", "GET /?servce=a", 1) + "\r\n", 400},
		{"the same origin", upgrade + "Origin: http://A.test\r\n\r\n", 101},
	}
	for _, tt := range tests {
		c := dial(t, address)
		send(t, c, tt.request)
		expectText(t, c, fmt.Sprintf("HTTP/1.1 %d ", tt.want))
		if tt.want != 101 {
			c.Close()
			continue
		}
		got := exchange(t, address, "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
		if status := finalStatus(got); status != 503 || !strings.Contains(got, "Retry-After: 1\r\n") {
			t.Errorf("one stream more = %q, want 503 and when to come again", got)
		}
		c.Close()
	}
}

// FuzzRegistryBody holds the handler to an answer that fits: what it takes can
// be found, and what it does not take changes nothing.
func FuzzRegistryBody(f *testing.F) {
	f.Add(greeter, "30s")
	f.Add(`{"name":"a","nodes":[{"id":"b","address":"c","port":1}]}`, "")
	f.Add(`{"nodes":null}`, "1h")
	f.Add(`[]`, "x")
	f.Fuzz(func(t *testing.T, body, ttl string) {
		reg := new(registry.Memory)
		h := handler.Registry(reg, nil)
		r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/", strings.NewReader(body))
		r.URL.RawQuery = "ttl=" + strings.NewReplacer("%", "", "&", "", ";", "", "#", "").Replace(ttl)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		all, err := reg.List(context.Background())
		if err != nil || (w.Code == http.StatusOK) != (len(all) > 0) || w.Code >= 500 {
			t.Fatalf("POST %q = %d %s, and then List() = %v, %v", body, w.Code, w.Body, all, err)
		}
		for _, s := range all {
			if err := reg.Deregister(context.Background(), s); err != nil {
				t.Fatal(err)
			}
		}
	})
}
