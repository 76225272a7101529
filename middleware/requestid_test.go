package middleware_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/upstream"
)

func TestRequestID(t *testing.T) {
	long := strings.Repeat("x", 128)
	tests := []struct {
		name  string
		sent  []string
		fresh bool
		kept  bool
	}{
		{"none", nil, false, false},
		{"one", []string{"0b6a9f1e-7c1d"}, false, true},
		{"every visible character", []string{"!#$%&'()*+,-./:;<=>?@[]^_`{|}~\"\\"}, false, true},
		{"the longest", []string{long}, false, true},
		{"too long", []string{long + "x"}, false, false},
		{"empty", []string{""}, false, false},
		{"two", []string{"a", "b"}, false, false},
		{"a space", []string{"a b"}, false, false},
		{"a line of its own", []string{"a\nb"}, false, false},
		{"a control character", []string{"a\x7fb"}, false, false},
		{"beyond ASCII", []string{"aé"}, false, false},
		{"not to be kept", []string{"0b6a9f1e-7c1d"}, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			h := middleware.RequestID(&middleware.RequestIDOptions{Fresh: tt.fresh})(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				got = r.Header["X-Request-Id"]
			}))
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if tt.sent != nil {
				r.Header["X-Request-Id"] = tt.sent
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if len(got) != 1 || slices.Equal(got, tt.sent) != tt.kept {
				t.Errorf("the service got %q of %q, kept: %t", got, tt.sent, tt.kept)
			}
			if !tt.kept && len(got[0]) != 32 {
				t.Errorf("a new id is %q, want 32 digits", got[0])
			}
			if answered := w.Header()["X-Request-Id"]; !slices.Equal(answered, got) {
				t.Errorf("the answer has %q, want %q", answered, got)
			}
		})
	}
}

func TestRequestIDsDiffer(t *testing.T) {
	seen := make(map[string]bool)
	h := middleware.RequestID(nil)(http.NotFoundHandler())
	for range 1000 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		seen[w.Header().Get("X-Request-ID")] = true
	}
	if len(seen) != 1000 {
		t.Errorf("1000 requests have %d ids", len(seen))
	}
}

// One id goes to a real service and comes back, whatever either side does.
func TestRequestIDThroughAService(t *testing.T) {
	tests := []struct {
		name       string
		connection []string // of the client
		own        []string // ids of the service
	}{
		{"nothing", nil, nil},
		{"the service has an id of its own", nil, []string{"its-own"}},
		{"the service has two", nil, []string{"its-own", "another"}},
		{"the client names it as for one hop", []string{"X-Request-ID"}, nil},
		{"among others", []string{"keep-alive", "x-hop, x-request-id"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got http.Header
			service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r.Header.Clone()
				w.Header()["X-Request-Id"] = tt.own
				_, _ = io.WriteString(w, "hello")
			}))
			defer service.Close()
			rt := &goapi.Route{
				Service: "web", Endpoint: &goapi.Endpoint{Name: "web", Handler: "http"},
				Upstream: upstream.Static(strings.TrimPrefix(service.URL, "http://")),
			}
			gateway := httptest.NewServer(middleware.RequestID(nil)(goapi.With(rt, handler.HTTP(nil))))
			defer gateway.Close()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, gateway.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header["X-Request-Id"], req.Header["Connection"] = []string{"r-1"}, tt.connection
			req.Header["X-Hop"] = []string{"1"}
			rsp, err := gateway.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			rsp.Body.Close()
			if ids := got["X-Request-Id"]; !slices.Equal(ids, []string{"r-1"}) {
				t.Errorf("the service got %q, want r-1", ids)
			}
			if ids := rsp.Header["X-Request-Id"]; !slices.Equal(ids, []string{"r-1"}) {
				t.Errorf("the client got %q, want r-1", ids)
			}
			if hop := got["X-Hop"] != nil; hop != (len(tt.connection) < 2) {
				t.Errorf("X-Hop reached the service: %t, want it to stay where Connection names it", hop)
			}
		})
	}
}

func FuzzRequestID(f *testing.F) {
	f.Add("r-1", "close")
	f.Add("", "X-Request-Id, x")
	f.Add("a\r\nb", ",,x-request-id")
	f.Fuzz(func(t *testing.T, id, connection string) {
		var got http.Header
		h := middleware.RequestID(nil)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["X-Request-Id"], r.Header["Connection"] = []string{id}, []string{connection}
		h.ServeHTTP(httptest.NewRecorder(), r)
		ids := got["X-Request-Id"]
		if len(ids) != 1 || ids[0] == "" || len(ids[0]) > 128 || strings.Trim(ids[0], visible()) != "" {
			t.Errorf("the service got %q of %q", ids, id)
		}
		if strings.Trim(id, visible()) == "" && id != "" && len(id) <= 128 && ids[0] != id {
			t.Errorf("the service got %q of %q, want it kept", ids, id)
		}
		for option := range strings.SplitSeq(strings.Join(got["Connection"], ","), ",") {
			if strings.EqualFold(strings.TrimSpace(option), "x-request-id") {
				t.Errorf("Connection %q still names it: %q", connection, got["Connection"])
			}
		}
	})
}

func BenchmarkRequestID(b *testing.B) {
	h := middleware.RequestID(nil)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Connection", "keep-alive")
	w := &nobody{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		delete(r.Header, "X-Request-Id")
		h.ServeHTTP(w, r)
	}
}

func ExampleRequestID() {
	h := middleware.RequestID(nil)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println("serving", r.Header.Get("X-Request-ID"))
	}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Request-ID", "r-1")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println("answered", w.Header().Get("X-Request-ID"))
	// Output:
	// serving r-1
	// answered r-1
}

// visible is visible ASCII.
func visible() string {
	var b strings.Builder
	for c := byte('!'); c <= '~'; c++ {
		b.WriteByte(c)
	}
	return b.String()
}

// nobody is a ResponseWriter for an answer that nobody reads.
type nobody struct{ header http.Header }

func (w *nobody) Header() http.Header         { return w.header }
func (w *nobody) WriteHeader(int)             {}
func (w *nobody) Write(p []byte) (int, error) { return len(p), nil }
