package handler_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
)

const (
	asEvents = "text/event-stream"
	asLines  = "application/x-ndjson"
)

// askStream serves a request for a stream, whose answer is of a kind.
func askStream(c client.Caller, rt *goapi.Route, r *http.Request, kind string) *httptest.ResponseRecorder {
	if kind != "" {
		r.Header.Set("Accept", kind)
	}
	return rpc(c, rt, r)
}

// TestEvents holds what a client is sent, to the byte.
func TestEvents(t *testing.T) {
	pretty := "{\n  \"a\": \"x\\ny\",\r\n  \"b\": [1, 2]\r}\n"
	failing := func(_ context.Context, c *caller) error {
		if err := c.say("1"); err != nil {
			return err
		}
		return &goapi.Error{Code: 418, ID: "greeter.tea", Detail: "I am a teapot"}
	}
	teapot := `{"id":"greeter.tea","code":418,"detail":"I am a teapot","status":"I'm a teapot"}`
	tests := []struct {
		name    string
		service streamService
		kind    string
		want    string
	}{
		{"events", says(`{"n":1}`, `{"n":2}`), asEvents, "data: {\"n\":1}\n\ndata: {\"n\":2}\n\nevent: end\ndata: {}\n\n"},
		{"lines", says(`{"n":1}`, `{"n":2}`), asLines, "{\"n\":1}\n{\"n\":2}\n"},
		{"other lines", says(`1`), "application/jsonl", "1\n"},
		{"more lines", says(`1`), "application/ndjson", "1\n"},
		{"no events", says(), asEvents, "event: end\ndata: {}\n\n"},
		{"no lines", says(), asLines, ""},
		{"pretty events", says(pretty), asEvents, `data: {"a":"x\ny","b":[1,2]}` + "\n\nevent: end\ndata: {}\n\n"},
		{"pretty lines", says(pretty), asLines, `{"a":"x\ny","b":[1,2]}` + "\n"},
		{"spaces", says(" {}\n"), asLines, "{}\n"},
		{"failing events", failing, asEvents, "data: 1\n\nevent: error\ndata: " + teapot + "\n\n"},
		{"failing lines", failing, asLines, "1\n{\"error\":" + teapot + "}\n"},
		{"garbage after a message", says("1", "{"), asLines,
			"1\n" + `{"error":{"id":"goapi","code":502,"detail":"service greeter was called in application/json, and answered with something else","status":"Bad Gateway"}}` + "\n"},
		{"large", says(`"` + strings.Repeat("x", 300<<10) + `"`), asLines, `"` + strings.Repeat("x", 300<<10) + "\"\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := askStream(memory{serve: tt.service}, streamRoute(), httptest.NewRequest(http.MethodGet, "/hello", nil), tt.kind)
			if w.Code != http.StatusOK || w.Body.String() != tt.want {
				t.Errorf("answer = %d %.500q, want 200 %.500q", w.Code, w.Body, tt.want)
			}
			want := http.Header{"Content-Type": {tt.kind}, "Cache-Control": {"no-store"}, "X-Accel-Buffering": {"no"}}
			if !maps.EqualFunc(w.Header(), want, slices.Equal) {
				t.Errorf("header = %v, want %v", w.Header(), want)
			}
			if !w.Flushed {
				t.Error("the answer was not flushed")
			}
		})
	}
}

// TestEventsMessage: the request is the message, as it is of a call.
func TestEventsMessage(t *testing.T) {
	rt := streamRoute()
	rt.Endpoint.Request = helloRequest()
	tests := []struct {
		method, target, contentType, body string
		want                              string
	}{
		{"GET", "/hello?name=7", "", "", `{"name":"7"}`},
		{"GET", "/hello", "", "", `{}`},
		{"POST", "/hello?age=7", "", `{"name":"x"}`, `{"age":7,"name":"x"}`},
		{"POST", "/hello", "application/x-www-form-urlencoded", "name=x&age=7", `{"age":7,"name":"x"}`},
		{"PUT", "/hello", "application/json", `{}`, `{}`},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target+" "+tt.body, func(t *testing.T) {
			var got, contentType string
			c := memory{serve: func(_ context.Context, c *caller) error {
				contentType = c.req.ContentType
				var err error
				got, err = c.next()
				return err
			}}
			r := httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body))
			if tt.contentType != "" {
				r.Header.Set("Content-Type", tt.contentType)
			}
			if w := askStream(c, rt, r, asLines); w.Code != http.StatusOK {
				t.Fatalf("answer = %d %s, want 200", w.Code, w.Body)
			}
			if got != tt.want || contentType != "application/json" {
				t.Errorf("message = %s in %s, want %s in JSON", got, contentType, tt.want)
			}
		})
	}
}

// TestEventsRefused: what is no request for a stream, and what goes wrong before
// the first message, has a status of its own.
func TestEventsRefused(t *testing.T) {
	head := httptest.NewRequest(http.MethodHead, "/hello", nil)
	late := httptest.NewRequest(http.MethodGet, "/hello", nil)
	late.Header.Set("Grpc-Timeout", "1s")
	nobody := streamRoute()
	nobody.Upstream = nil
	tests := []struct {
		name string
		c    client.Caller
		rt   *goapi.Route
		r    *http.Request
		kind string
		want int
	}{
		{"no kind", memory{}, nil, nil, "", 406},
		{"any kind", memory{}, nil, nil, "*/*", 406},
		{"another kind", memory{}, nil, nil, "application/json", 406},
		{"not wanted", memory{}, nil, nil, asEvents + ";q=0", 406},
		{"HEAD", memory{}, nil, head, asEvents, 405},
		{"OPTIONS", memory{}, nil, httptest.NewRequest(http.MethodOptions, "/hello", nil), asEvents, 405},
		{"protobuf", memory{}, nil, post("/hello", "application/protobuf", ""), asEvents, 406},
		{"content type", memory{}, nil, post("/hello", "text/plain", ""), asEvents, 415},
		{"not JSON", memory{}, nil, post("/hello", "", "{"), asEvents, 400},
		{"timeout", memory{}, nil, late, asEvents, 400},
		{"no nodes", memory{}, nobody, nil, asEvents, 503},
		{"unreachable", memory{open: refuses(errors.New("dial tcp 192.0.2.1:80: refused"))}, nil, nil, asEvents, 502},
		{"fails at once", memory{serve: fails(&goapi.Error{Code: 403, ID: "greeter", Detail: "no"})}, nil, nil, asEvents, 403},
		{"breaks off at once", memory{serve: fails(io.ErrUnexpectedEOF)}, nil, nil, asLines, 502},
		{"garbage at once", memory{serve: says("<html>")}, nil, nil, asLines, 502},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rt, r := tt.rt, tt.r
			if rt == nil {
				rt = streamRoute()
			}
			if r == nil {
				r = httptest.NewRequest(http.MethodGet, "/hello", nil)
			}
			w := askStream(tt.c, rt, r, tt.kind)
			if w.Code != tt.want {
				t.Errorf("status = %d, want %d", w.Code, tt.want)
			}
			if got, want := w.Header().Get("Allow") != "", tt.want == http.StatusMethodNotAllowed; got != want {
				t.Errorf("answer has Allow: %t, want %t", got, want)
			}
			golden(t, "stream/"+strings.ReplaceAll(tt.name, " ", "-")+".json", w.Body.Bytes())
		})
	}
}

func TestEventsClientLeaves(t *testing.T) {
	for _, kind := range []string{asEvents, asLines} {
		gone := make(chan error, 1)
		url := serveStreams(t, memory{serve: func(ctx context.Context, c *caller) error {
			if err := c.say("1"); err != nil {
				return err
			}
			return waits(gone)(ctx, c)
		}}, streamRoute(), nil)
		ctx, leave := context.WithCancel(limited(t))
		res := getStream(ctx, t, http.DefaultTransport, url, kind)
		if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || !strings.Contains(line, "1") {
			t.Fatalf("%s: first line = %q, %v", kind, line, err)
		}
		leave()
		receives(t, gone, "the end of the call")
		_ = res.Body.Close()
	}
}

// TestEventsOverHTTP2: a stream is one of HTTP/2, too.
func TestEventsOverHTTP2(t *testing.T) {
	gone := make(chan error, 1)
	srv := httptest.NewUnstartedServer(goapi.With(streamRoute(), handler.RPC(memory{serve: func(ctx context.Context, c *caller) error {
		for _, msg := range []string{"1", "2"} {
			if err := c.say(msg); err != nil {
				return err
			}
		}
		return waits(gone)(ctx, c)
	}}, nil)))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	ctx, leave := context.WithCancel(limited(t))
	res := getStream(ctx, t, srv.Client().Transport, srv.URL, asLines)
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for _, want := range []string{"1\n", "2\n"} {
		if got, err := lines.ReadString('\n'); got != want || err != nil || res.ProtoMajor != 2 {
			t.Errorf("line over HTTP/%d = %q, %v; want %q over HTTP/2", res.ProtoMajor, got, err, want)
		}
	}
	leave()
	receives(t, gone, "the end of the call")
}

// TestEventsArriveAtOnce measures how long a message is on its way.
func TestEventsArriveAtOnce(t *testing.T) {
	const n = 300
	url := serveStreams(t, memory{serve: func(ctx context.Context, c *caller) error {
		for range n {
			msg, err := time.Now().MarshalJSON()
			if err == nil {
				err = c.say(string(msg))
			}
			if err != nil {
				return err
			}
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
			}
		}
		return nil
	}}, streamRoute(), nil)
	res := getStream(limited(t), t, http.DefaultTransport, url, asEvents)
	defer res.Body.Close()
	var took []time.Duration
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		var sent time.Time
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && sent.UnmarshalJSON([]byte(data)) == nil {
			took = append(took, time.Since(sent))
		}
	}
	if len(took) != n {
		t.Fatalf("%d messages came, want %d", len(took), n)
	}
	slices.Sort(took)
	t.Logf("median %v, p99 %v", took[n/2], took[n*99/100])
	if median := took[n/2]; median > 100*time.Millisecond { // what the bench measures; here nothing may be held back
		t.Errorf("a message takes %v, want that it is sent on at once", median)
	}
}

// TestEventsKeepWhatIsKnown: an error behind the head is in the exchange, and a
// service that ends well leaves none.
func TestEventsKeepWhatIsKnown(t *testing.T) {
	for _, fail := range []bool{false, true} {
		service := says("1")
		if fail {
			service = says("1", "{")
		}
		w, r, ex := goapi.NewExchange(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/hello", nil))
		r.Header.Set("Accept", asEvents)
		goapi.With(streamRoute(), handler.RPC(memory{serve: service}, nil)).ServeHTTP(w, r)
		if got := goapi.Status(ex.Err); (ex.Err != nil) != fail || fail && got != http.StatusBadGateway {
			t.Errorf("error of the exchange = %v, want one: %t", ex.Err, fail)
		}
		if ex.Node != "192.0.2.1:80" || ex.Attempts != 1 || ex.Upstream == 0 {
			t.Errorf("exchange = %+v, want the node, one attempt and the time", ex)
		}
	}
}

// TestEventsEndOfMessages: what a service is told of the end of its messages
// depends on its protocol.
func TestEventsEndOfMessages(t *testing.T) {
	for protocol, want := range map[string]bool{"grpc": true, "mucp": false, "": false} {
		told := make(chan bool, 1)
		c := memory{serve: func(_ context.Context, c *caller) error {
			if _, err := c.next(); err != nil {
				return err
			}
			select {
			case <-c.in:
				told <- true
			case <-time.After(20 * time.Millisecond):
				told <- false
			}
			return nil
		}}
		rt := streamRoute()
		rt.Upstream = oneNode(&registry.Node{ID: "1", Address: "192.0.2.1:80", Metadata: map[string]string{"protocol": protocol}})
		askStream(c, rt, httptest.NewRequest(http.MethodGet, "/hello", nil), asEvents)
		if got := <-told; got != want {
			t.Errorf("a service of %q was told of the end: %t, want %t", protocol, got, want)
		}
	}
}

// getStream asks for a stream of a kind, and returns its answer.
func getStream(ctx context.Context, t testing.TB, rt http.RoundTripper, url, kind string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", kind)
	res, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("answer = %s, want 200", textOf(res))
	}
	return res
}
