package middleware_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware"
)

// editors are middlewares that change an answer when it begins, each in its place.
func editors(t testing.TB, next http.Handler) http.Handler {
	t.Helper()
	security, err := middleware.SecurityHeaders(nil)
	if err != nil {
		t.Fatal(err)
	}
	headers, err := middleware.Headers(&middleware.HeadersOptions{Response: middleware.HeaderEdit{
		Remove: []string{"Server"}, Set: map[string]string{"X-Set": "1", "Access-Control-Allow-Origin": "*"}, Add: map[string]string{"X-Add": "1"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return mustCORS(t, origins("https://app.example.com"), security(headers(next)))
}

// TestAnswersAreChangedOnce: however an answer begins, all changes are in its
// header, and the outermost has the last word.
func TestAnswersAreChangedOnce(t *testing.T) {
	begin := map[string]http.HandlerFunc{
		"WriteHeader": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) },
		"Write":       func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") },
		"ReadFrom":    func(w http.ResponseWriter, _ *http.Request) { io.Copy(w, strings.NewReader("hello")) },
		"Flush":       func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
		"FlushError":  func(w http.ResponseWriter, _ *http.Request) { http.NewResponseController(w).Flush() },
		"nothing":     func(http.ResponseWriter, *http.Request) {},
		"an error": goapi.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			return goapi.NewError(502, "broken", nil)
		}).ServeHTTP,
		"hints": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Server", "late")
			io.WriteString(w, "hello")
		},
		"a deadline": func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Errorf("SetReadDeadline() error = %v", err)
			}
		},
	}
	for name, h := range begin {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(editors(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Server", "secret")
				w.Header().Set("X-Add", "0")
				h(w, r)
			})))
			defer s.Close()
			resp, err := s.Client().Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			for header, want := range map[string]string{
				"Server": "", "X-Set": "1", "X-Add": "0,1", "Access-Control-Allow-Origin": "", "Vary": "Origin", "X-Frame-Options": "DENY",
			} {
				if got := strings.Join(resp.Header[header], ","); got != want {
					t.Errorf("%s = %q, want %q", header, got, want)
				}
			}
		})
	}
}

// TestChangedUpgrade: the connection of an upgrade can be taken over.
func TestChangedUpgrade(t *testing.T) {
	s := httptest.NewServer(editors(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "x")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack() error = %v", err)
			return
		}
		conn.Close()
	})))
	defer s.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "x")
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 101 || resp.Header.Get("X-Set") != "1" {
		t.Errorf("answer = %d %v, want 101 with its changes", resp.StatusCode, resp.Header)
	}
}

// TestChangedAnswerThatBreaks: an error after the answer has begun ends the
// connection, and the next answer is not touched by it.
func TestChangedAnswerThatBreaks(t *testing.T) {
	h := editors(t, goapi.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		io.WriteString(w, "hello")
		if r.URL.Path == "/break" {
			return goapi.NewError(502, "broken", nil)
		}
		return nil
	}))
	for range 3 {
		func() {
			defer func() {
				if got := recover(); got != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
					t.Errorf("panic = %v, want %v", got, http.ErrAbortHandler)
				}
			}()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/break", nil))
		}()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Body.String() != "hello" || w.Header().Get("X-Set") != "1" {
			t.Errorf("answer = %v %q, want hello and its changes", w.Header(), w.Body)
		}
	}
}

func BenchmarkAnswerWithManyChanges(b *testing.B) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Origin", "https://app.example.com")
	serveMany(b, editors(b, nothing()), r)
}

// text answers with one text.
func text(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) })
}

// nothing answers with a status.
func nothing() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })
}

// serveMany measures a handler, less what a server does.
func serveMany(b *testing.B, h http.Handler, r *http.Request) {
	b.Helper()
	r, _ = withExchange(r)
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		h.ServeHTTP(w, r)
	}
}

// discard is a writer that keeps nothing but the header.
type discard struct{ header http.Header }

func (w *discard) Header() http.Header         { return w.header }
func (w *discard) WriteHeader(int)             {}
func (w *discard) Write(b []byte) (int, error) { return len(b), nil }

// checkOneLine checks an error of a constructor; no error is wanted if want is empty.
func checkOneLine(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err == nil:
	case err == nil || want == "" || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n"):
		t.Errorf("error = %v, want one line with %q", err, want)
	}
}
