package middleware_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/upstream"
)

func TestHeaders(t *testing.T) {
	tests := []struct {
		name string
		edit middleware.HeaderEdit
		have http.Header
		want http.Header // "" is that it is not there
	}{
		{"nothing", middleware.HeaderEdit{}, http.Header{"X-A": {"1"}}, http.Header{"X-A": {"1"}}},
		{"remove", middleware.HeaderEdit{Remove: []string{"x-a"}}, http.Header{"X-A": {"1", "2"}, "X-B": {"1"}}, http.Header{"X-A": nil, "X-B": {"1"}}},
		{"set", middleware.HeaderEdit{Set: map[string]string{"x-a": " 3 "}}, http.Header{"X-A": {"1", "2"}}, http.Header{"X-A": {"3"}}},
		{"set what is empty", middleware.HeaderEdit{Set: map[string]string{"X-A": ""}}, http.Header{}, http.Header{"X-A": {""}}},
		{"add", middleware.HeaderEdit{Add: map[string]string{"X-A": "3", "X-B": "4"}}, http.Header{"X-A": {"1", "2"}}, http.Header{"X-A": {"1", "2", "3"}, "X-B": {"4"}}},
		{"all of it", middleware.HeaderEdit{
			Remove: []string{"X-A"}, Set: map[string]string{"X-B": "2"}, Add: map[string]string{"X-A": "3", "X-B": "3"},
		}, http.Header{"X-A": {"1"}, "X-B": {"1"}}, http.Header{"X-A": {"3"}, "X-B": {"2", "3"}}},
	}
	for _, tt := range tests {
		for _, of := range []string{"request", "response"} {
			t.Run(tt.name+" of a "+of, func(t *testing.T) {
				have := tt.have.Clone()
				opts := &middleware.HeadersOptions{Request: tt.edit}
				if of == "response" {
					opts = &middleware.HeadersOptions{Response: tt.edit}
				}
				var got http.Header
				h := mustHeaders(t, opts, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					got = r.Header
					if of == "response" {
						maps.Copy(w.Header(), have)
					}
				}))
				r := httptest.NewRequest("GET", "/", nil)
				if of == "request" {
					r.Header = have
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if of == "response" {
					got = w.Header()
				}
				for name, want := range tt.want {
					if strings.Join(got[name], "|") != strings.Join(want, "|") || len(got[name]) != len(want) {
						t.Errorf("%s = %q, want %q", name, got[name], want)
					}
				}
				for name, values := range tt.have { // whoever lies around sees what came
					if of == "request" && strings.Join(r.Header[name], "|") != strings.Join(values, "|") {
						t.Errorf("%s of the request is %q outside, want %q", name, r.Header[name], values)
					}
				}
			})
		}
	}
}

// TestHeadersOfAService: a real service gets what is set, and the client does
// not get what is removed; an error is an answer, too.
func TestHeadersOfAService(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Powered-By", "secret")
		fmt.Fprint(w, r.Header.Get("X-Tenant"), r.Header.Get("X-Debug"))
	}))
	defer service.Close()
	proxy := handler.HTTP(nil)
	defer proxy.(io.Closer).Close()
	opts := &middleware.HeadersOptions{
		Request:  middleware.HeaderEdit{Set: map[string]string{"X-Tenant": "one"}, Remove: []string{"X-Debug"}},
		Response: middleware.HeaderEdit{Remove: []string{"X-Powered-By"}, Set: map[string]string{"X-Region": "eu"}},
	}
	for address, want := range map[string]string{service.Listener.Addr().String(): "200 one", "": "503"} {
		set := upstream.Static()
		if address != "" {
			set = upstream.Static(address)
		}
		s := httptest.NewServer(goapi.With(&goapi.Route{Endpoint: &goapi.Endpoint{}, Upstream: set}, mustHeaders(t, opts, proxy)))
		defer s.Close()
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Debug", "all")
		r.Header.Set("X-Tenant", "another")
		resp, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := fmt.Sprint(resp.StatusCode, " ", string(body)); !strings.HasPrefix(got, want) {
			t.Errorf("answer = %q, want %q", got, want)
		}
		if resp.Header.Get("X-Powered-By") != "" || resp.Header.Get("X-Region") != "eu" {
			t.Errorf("header = %v, want X-Region and no X-Powered-By", resp.Header)
		}
	}
}

func TestHeadersErrors(t *testing.T) {
	set := func(name, value string) middleware.HeaderEdit {
		return middleware.HeaderEdit{Set: map[string]string{name: value}}
	}
	tests := []struct {
		name                string
		edit                middleware.HeaderEdit
		onRequest, onAnswer string // what is wrong; "" is nothing
	}{
		{"a header", set("X-A", "1"), "", ""},
		{"hop by hop", set("connection", "close"), "for one connection", "for one connection"},
		{"framing", set("Transfer-Encoding", "chunked"), "for one connection", "for one connection"},
		{"length", middleware.HeaderEdit{Remove: []string{"content-length"}}, "Content-Length is for one connection", "Content-Length is for one connection"},
		{"host", set("Host", "a"), "Host is for one connection", "Host is for one connection"},
		{"upgrade", middleware.HeaderEdit{Add: map[string]string{"Upgrade": "h2c"}}, "for one connection", "for one connection"},
		{"go-micro's", set("micro-service", "a"), "the protocol's own", "the protocol's own"},
		{"go-micro's with X", set("X-Micro-Id", "a"), "the protocol's own", "the protocol's own"},
		{"where it comes from", set("X-Forwarded-For", "1.2.3.4"), "where a request comes from", ""},
		{"where it comes from, too", set("X-Real-IP", "1.2.3.4"), "where a request comes from", ""},
		{"underscore", set("X_A", "1"), "never reaches a service", ""},
		{"no name", set("X A", "1"), "is no name", "is no name"},
		{"an empty name", set("", "1"), "is no name", "is no name"},
		{"two lines", set("X-A", "1\r\nX-B: 2"), "write it in one line", "write it in one line"},
		{"twice", middleware.HeaderEdit{Add: map[string]string{"X-A": "1", "x-a": "2"}}, "X-A is there twice", "X-A is there twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := middleware.Headers(&middleware.HeadersOptions{Request: tt.edit})
			checkOneLine(t, err, tt.onRequest)
			_, err = middleware.Headers(&middleware.HeadersOptions{Response: tt.edit})
			checkOneLine(t, err, tt.onAnswer)
		})
	}
	if _, err := middleware.Headers(nil); err != nil {
		t.Errorf("Headers(nil) error = %v, want none", err)
	}
}

func ExampleHeaders() {
	headers, err := middleware.Headers(&middleware.HeadersOptions{
		Response: middleware.HeaderEdit{Remove: []string{"Server"}, Set: map[string]string{"X-Region": "eu"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := headers(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "homemade/0.1")
		fmt.Fprint(w, "hello")
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	fmt.Println(w.Body, w.Header()["Server"], w.Header()["X-Region"])
	// Output: hello [] [eu]
}

func BenchmarkHeaders(b *testing.B) {
	edit := middleware.HeaderEdit{Remove: []string{"X-A"}, Set: map[string]string{"X-B": "1"}}
	b.Run("of requests", func(b *testing.B) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-A", "1")
		serveMany(b, mustHeaders(b, &middleware.HeadersOptions{Request: edit}, nothing()), r)
	})
	b.Run("of answers", func(b *testing.B) {
		serveMany(b, mustHeaders(b, &middleware.HeadersOptions{Response: edit}, nothing()), httptest.NewRequest("GET", "/", nil))
	})
}

func mustHeaders(t testing.TB, opts *middleware.HeadersOptions, next http.Handler) http.Handler {
	t.Helper()
	headers, err := middleware.Headers(opts)
	if err != nil {
		t.Fatalf("Headers() error = %v", err)
	}
	return headers(next)
}
