package compress_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/middleware/compress"
)

// FuzzRoundTrip: whatever is written, in whatever pieces, is what is decoded.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte(large), uint16(100), uint8(3), "gzip")
	f.Add([]byte("short"), uint16(1), uint8(0), "zstd")
	f.Add([]byte{}, uint16(1), uint8(1), "gzip")
	f.Add([]byte(large), uint16(5000), uint8(0), "zstd;q=0.1, gzip;q=0.2")
	compressed, err := compress.New(&compress.Options{MinSize: 64})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, piece uint16, flush uint8, accept string) {
		h := compressed(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			for i, rest := 1, body; len(rest) > 0; i++ {
				n := min(int(piece)+1, len(rest))
				if m, err := w.Write(rest[:n]); m != n || err != nil {
					t.Fatalf("Write() = %d, %v; want %d", m, err, n)
				}
				if rest = rest[n:]; flush > 0 && i%int(flush) == 0 {
					w.(http.Flusher).Flush()
				}
			}
		}))
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Accept-Encoding"] = []string{accept}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		coding := w.Header().Get("Content-Encoding")
		got, err := decoded(coding, w.Body.Bytes())
		if err != nil && w.Body.Len() > 0 || got != string(body) && len(body) > 0 {
			t.Fatalf("Accept-Encoding %q: %s answer = %d bytes, %v; want %d bytes", accept, coding, len(got), err, len(body))
		}
		if coding != "" && !strings.Contains(strings.ToLower(accept), coding) && !strings.Contains(accept, "*") {
			t.Fatalf("Accept-Encoding %q is answered with %s", accept, coding)
		}
	})
}

func BenchmarkCompress(b *testing.B) {
	small, middle := []byte(large[:200]), []byte(large)
	for _, bb := range []struct {
		name, accept string
		body         []byte
	}{
		{"not wanted", "", middle},
		{"small", "gzip, zstd", small},
		{"gzip 7 KiB", "gzip", middle},
		{"zstd 7 KiB", "gzip, zstd", middle},
		{"zstd 256 KiB", "gzip, zstd", bytes.Repeat(middle, 35)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			contentType := []string{"application/json"}
			h := wrap(b, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = contentType
				w.Write(bb.body)
			}))
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Accept-Encoding", bb.accept)
			w := &discard{header: http.Header{}}
			b.SetBytes(int64(len(bb.body)))
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				h.ServeHTTP(w, r)
			}
		})
	}
}

// discard is a writer that keeps nothing.
type discard struct{ header http.Header }

func (w *discard) Header() http.Header         { return w.header }
func (w *discard) WriteHeader(int)             {}
func (w *discard) Write(b []byte) (int, error) { return len(b), nil }
