package middleware_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware"
)

// trace is a traceparent and the id in it.
const (
	trace   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	traceID = "0af7651916cd43dd8448eb211c80319c"
)

func TestAccessLog(t *testing.T) {
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := goapi.ExchangeFrom(r.Context())
		ex.Client = netip.MustParseAddr("203.0.113.7")
		ex.Identity = &goapi.Identity{Subject: "alice", Method: "jwt"}
		ex.Route = &goapi.Route{Service: "greeter", Pattern: "/hello/{name}", Endpoint: &goapi.Endpoint{Name: "Greeter.Hello", Handler: "rpc"}}
		ex.Node, ex.Attempts, ex.Upstream = "greeter-1", 2, 1500*time.Microsecond
		_, _ = io.Copy(io.Discard, r.Body)
		r.URL.Path = "/rewritten"
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "hello")
	})
	r := httptest.NewRequest(http.MethodPost, "https://api.example.com/hello/j%20d?token=s3cret", strings.NewReader("{}"))
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
	r.Header.Set("Authorization", "Bearer s3cret")
	r.Header.Set("Cookie", "session=s3cret")
	r.Header.Set("User-Agent", "curl/8")
	r.Header.Set("Traceparent", trace)
	r.Header.Set("X-Request-ID", "r-1")
	got := logged(t, serve, r, nil)
	for _, timed := range []string{"time", "duration_ms"} {
		if got[timed] == nil {
			t.Errorf("the line has no %s", timed)
		}
		delete(got, timed)
	}
	want := map[string]any{
		"msg": "request", "method": "POST", "host": "api.example.com", "path": "/hello/j%20d", "status": 201.0, "bytes_in": 2.0, "bytes_out": 5.0,
		"route": "/hello/{name}", "service": "greeter", "endpoint": "Greeter.Hello", "handler": "rpc",
		"node": "greeter-1", "attempts": 2.0, "upstream_ms": 1.5, "client": "203.0.113.7", "subject": "alice", "auth": "jwt",
		"trace_id": traceID, "request_id": "r-1", "protocol": "HTTP/1.1", "tls": "TLS 1.3", "user_agent": "curl/8",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line differs (-want +got):\n%s", diff)
	}
}

func TestAccessLogValues(t *testing.T) {
	long := strings.Repeat("é", 1000)
	tests := []struct {
		name  string
		set   func(*http.Request)
		serve func(http.ResponseWriter, *http.Request)
		field string
		want  any
	}{
		{"no route", nil, nil, "route", nil},
		{"no node", nil, nil, "attempts", nil},
		{"the peer", nil, nil, "client", "192.0.2.1"},
		{"a peer without an address", func(r *http.Request) { r.RemoteAddr = "@" }, nil, "client", nil},
		{"a peer in IPv6 with a zone", func(r *http.Request) { r.RemoteAddr = "[fe80::1%eth0]:1" }, nil, "client", "fe80::1"},
		{"a handler that writes nothing", nil, nil, "status", 200.0},
		{"the query", func(r *http.Request) { r.URL.RawQuery = "a=1&b=2" }, nil, "query", nil},
		{"an injected line", func(r *http.Request) { r.Header.Set("User-Agent", "x\"}\n{\"msg\":\"request\"") }, nil, "user_agent", "x\"}\n{\"msg\":\"request\""},
		{"bytes that are no text", func(r *http.Request) { r.Header.Set("User-Agent", "a\xff\xfeb") }, nil, "user_agent", "a\ufffd\ufffdb"},
		{"a long one", func(r *http.Request) { r.Header.Set("User-Agent", long) }, nil, "user_agent", long[:512] + "…"},
		{"a long method", func(r *http.Request) { r.Method = strings.Repeat("M", 1000) }, nil, "method", strings.Repeat("M", 128) + "…"},
		{"two traces", func(r *http.Request) { r.Header["Traceparent"] = []string{trace, trace} }, nil, "trace_id", nil},
		{"a malformed trace", func(r *http.Request) { r.Header.Set("Traceparent", strings.ToUpper(trace)) }, nil, "trace_id", nil},
		{"a trace of zeros", func(r *http.Request) {
			r.Header.Set("Traceparent", strings.Replace(trace, traceID, strings.Repeat("0", 32), 1))
		}, nil, "trace_id", nil},
		{"a request id that is none", func(r *http.Request) { r.Header.Set("X-Request-ID", "a b") }, nil, "request_id", nil},
		{"an error", nil, fails(goapi.NewError(502, "service greeter could not be reached", errors.New("dial 10.0.0.1:80: refused"))), "error",
			"goapi: 502 service greeter could not be reached: dial 10.0.0.1:80: refused"},
		{"its status", nil, fails(goapi.NewError(502, "", nil)), "status", 502.0},
		{"an error of two lines", nil, fails(errors.New("one\r\ntwo")), "error", "one two"},
		{"an error with a URL", nil, fails(errors.New(`Get "https://user:pw@auth.example/a/b?key=1": refused; see http://x?y=z: gone, http://h/p#f`)), "error",
			`Get "https://auth.example/a/b?": refused; see http://x?: gone, http://h/p`},
		{"gRPC", func(r *http.Request) { r.Header.Set("Content-Type", "application/grpc+proto") },
			func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(http.TrailerPrefix+"Grpc-Status", "14") }, "grpc_status", "14"},
		{"not gRPC", nil, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Grpc-Status", "14") }, "grpc_status", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if tt.set != nil {
				tt.set(r)
			}
			if tt.serve == nil {
				tt.serve = func(http.ResponseWriter, *http.Request) {}
			}
			if got := logged(t, http.HandlerFunc(tt.serve), r, nil)[tt.field]; got != tt.want {
				t.Errorf("%s = %v, want %v", tt.field, got, tt.want)
			}
		})
	}
}

func TestAccessLogOfQueries(t *testing.T) {
	tests := []struct{ query, want string }{
		{"a=1&b=2", "a=&b="},
		{"s3cret", ""},
		{"a=1&s3cret&b=", "a=&&b="},
		{"a=b=c", "a="},
		{"%61=1", "%61="},
	}
	for _, tt := range tests {
		r := httptest.NewRequest(http.MethodGet, "/?"+tt.query, nil)
		got, _ := logged(t, http.NotFoundHandler(), r, &middleware.AccessLogOptions{Query: true})["query"].(string)
		if got != tt.want {
			t.Errorf("query of %q = %q, want %q", tt.query, got, tt.want)
		}
	}
}

func TestAccessLogSamples(t *testing.T) {
	tests := []struct {
		name   string
		sample float64
		serve  http.HandlerFunc
		lo, hi int // of 1,000
	}{
		{"all by default", 0, func(http.ResponseWriter, *http.Request) {}, 1000, 1000},
		{"a share", 0.1, func(http.ResponseWriter, *http.Request) {}, 40, 200},
		{"none", -1, func(http.ResponseWriter, *http.Request) {}, 0, 0},
		{"redirections", -1, http.RedirectHandler("/", http.StatusFound).ServeHTTP, 0, 0},
		{"client errors", -1, http.NotFound, 1000, 1000},
		{"failures", -1, fails(goapi.NewError(500, "", nil)), 1000, 1000},
		{"failures in an answer", -1, func(_ http.ResponseWriter, r *http.Request) {
			goapi.ExchangeFrom(r.Context()).Err = io.ErrUnexpectedEOF
		}, 1000, 1000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			l := middleware.NewAccessLog(&out, &middleware.AccessLogOptions{Sample: tt.sample})
			h := l.Middleware(tt.serve)
			for range 1000 {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			}
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(out.Bytes(), []byte("\n")); n < tt.lo || n > tt.hi {
				t.Errorf("%d lines of 1,000 requests, want %d to %d", n, tt.lo, tt.hi)
			}
		})
	}
}

// The exchange that others have made is the one that is logged.
func TestAccessLogTakesTheExchange(t *testing.T) {
	var out bytes.Buffer
	l := middleware.NewAccessLog(&out, nil)
	w, r, ex := goapi.NewExchange(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	ex.Node, ex.Attempts = "a-1", 1
	l.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if goapi.ExchangeFrom(r.Context()) != ex {
			t.Error("the handler has another exchange")
		}
	})).ServeHTTP(w, r)
	if got := lines(t, l, &out); len(got) != 1 || got[0]["node"] != "a-1" {
		t.Errorf("lines = %v, want one of node a-1", got)
	}
}

func TestAccessLogIsWrittenBeforeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		l := middleware.NewAccessLog(&out, nil)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		h := l.Middleware(http.NotFoundHandler())
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/a", nil))
		time.Sleep(250 * time.Millisecond)
		if n := strings.Count(out.String(), "\n"); n != 1 {
			t.Errorf("%d lines after 250 ms, want 1", n)
		}
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/b", nil))
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the context's error", err)
		}
		if !strings.Contains(out.String(), `"path":"/b"`) {
			t.Errorf("log = %s, want the line that waited at the end", out.String())
		}
	})
}

// A log that cannot be written holds nobody up, and costs no more memory than
// it is given.
func TestAccessLogThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuck{release: make(chan struct{})}
		l := middleware.NewAccessLog(out, &middleware.AccessLogOptions{Buffer: 4 << 10})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		h := l.Middleware(http.NotFoundHandler())
		serve := func(n int) {
			for range n {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			}
		}
		serve(1)
		time.Sleep(time.Second) // Run is writing
		serve(1000)
		if lost := l.Lost(); lost < 900 || lost > 1000 {
			t.Errorf("Lost = %d, want nearly all of 1,000", lost)
		}
		close(out.release)
		time.Sleep(time.Second)
		stop()
		<-done
		want := fmt.Sprintf(`"msg":"lines lost","lost":%d}`, l.Lost())
		if text := out.buf.String(); !strings.Contains(text, want) || len(text) > 10<<10 {
			t.Errorf("log of %d bytes, want at most 10 KiB that end with %s", len(text), want)
		}
	})
}

func TestAccessLogThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told lockedBuffer
		l := middleware.NewAccessLog(failing{}, &middleware.AccessLogOptions{Logger: slog.New(slog.NewTextHandler(&told, nil))})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		h := l.Middleware(http.NotFoundHandler())
		for range 5 {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			time.Sleep(time.Second)
		}
		stop()
		<-done
		if lost := l.Lost(); lost != 5 {
			t.Errorf("Lost = %d, want 5", lost)
		}
		if n := strings.Count(told.String(), "disk is full"); n != 1 {
			t.Errorf("told %d times, want once: %s", n, told.String())
		}
	})
}

// A full buffer is written at once.
func TestAccessLogIsWrittenWhenThereIsMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		l := middleware.NewAccessLog(&out, &middleware.AccessLogOptions{Buffer: 8 << 10})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		h := l.Middleware(http.NotFoundHandler())
		for range 1000 {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			synctest.Wait()
		}
		stop()
		<-done
		if lost, n := l.Lost(), strings.Count(out.String(), "\n"); lost != 0 || n != 1000 {
			t.Errorf("%d lines, %d lost; want 1,000 and none", n, lost)
		}
	})
}

func FuzzAccessLog(f *testing.F) {
	f.Add("/a", "curl", "a=1", "refused")
	f.Add("/\x00", "\"}\n{", "&&=", "http://u:p@h?q://")
	f.Add("/\u202e", "\xff", "\u2028", "\n\r")
	f.Fuzz(func(t *testing.T, path, agent, query, cause string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.URL.RawQuery, r.Header["User-Agent"] = path, query, []string{agent}
		var out bytes.Buffer
		l := middleware.NewAccessLog(&out, &middleware.AccessLogOptions{Query: true})
		l.Middleware(fails(errors.New(cause))).ServeHTTP(httptest.NewRecorder(), r)
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		line, rest, ok := strings.Cut(out.String(), "\n")
		if !ok || rest != "" || len(line) > 16<<10 {
			t.Fatalf("want one line of at most 16 KiB: %q", out.String())
		}
		for _, c := range line {
			if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || c == 0x2028 || c == 0x202e || c == '\ufffd' {
				t.Errorf("%U is in the line as it is: %q", c, line)
			}
		}
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil || fields["msg"] != "request" {
			t.Errorf("the line is no JSON of a request: %v: %s", err, line)
		}
		if got, _ := fields["user_agent"].(string); len(agent) <= 512 && strings.ToValidUTF8(agent, "") == agent && !strings.ContainsRune(got, '\ufffd') && got != agent {
			t.Errorf("user_agent = %q, want %q", got, agent)
		}
	})
}

// logged returns the line of a request, which must be one.
func logged(t *testing.T, h http.Handler, r *http.Request, opts *middleware.AccessLogOptions) map[string]any {
	t.Helper()
	var out bytes.Buffer
	l := middleware.NewAccessLog(&out, opts)
	l.Middleware(h).ServeHTTP(httptest.NewRecorder(), r)
	got := lines(t, l, &out)
	if len(got) != 1 {
		t.Fatalf("%d lines, want 1: %v", len(got), got)
	}
	return got[0]
}

// lines returns what was logged.
func lines(t *testing.T, l *middleware.AccessLog, out *bytes.Buffer) []map[string]any {
	t.Helper()
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "s3cret") {
		t.Errorf("a secret is in the log: %s", out)
	}
	var all []map[string]any
	for line := range strings.Lines(out.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, fields)
	}
	return all
}

// fails returns a handler that answers with an error.
func fails(err error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { goapi.WriteError(w, r, err) }
}

// lockedBuffer is a buffer for two goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// stuck is a writer that waits.
type stuck struct {
	release chan struct{}
	buf     bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.release
	return s.buf.Write(p)
}

// failing is a writer that fails.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk is full") }
