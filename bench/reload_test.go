package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/config"
)

// TestReloaded measures a server that answers by what stands in the file.
func TestReloaded(t *testing.T) {
	tests := []struct {
		name    string
		spoil   func(w http.ResponseWriter, version string) bool
		failed  bool
		dropped bool
	}{
		{"as it should", nil, false, false},
		{"a request fails", func(w http.ResponseWriter, version string) bool {
			if version == "2" {
				w.WriteHeader(http.StatusBadGateway)
			}
			return version == "2"
		}, true, false},
		{"connections are closed", func(w http.ResponseWriter, version string) bool {
			if version == "1" {
				w.Header().Set("Connection", "close")
			}
			return false
		}, false, true},
		{"connections are closed without a word", func(w http.ResponseWriter, version string) bool {
			if version != "1" {
				return false
			}
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return false
			}
			defer conn.Close()
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n%s: %s\r\n\r\nanswer", headerReload, version)
			return true
		}, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := &reloadBench{reloads: 2, clients: 3, streams: 2, every: 100 * time.Millisecond}
			l := &lab{dir: t.TempDir()}
			file, err := l.file("goapi.yaml", b.version(0))
			if err != nil {
				t.Fatal(err)
			}
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ticking(w, r)
				if r.URL.Path == "/stream" {
					return
				}
				text, _ := os.ReadFile(file)
				_, version, _ := strings.Cut(string(text), headerReload+": \"")
				w.Header().Set(headerReload, version[:1])
				if tt.spoil == nil || !tt.spoil(w, version[:1]) {
					io.WriteString(w, "answer")
				}
			}))
			defer srv.Close()
			m := &reloaded{bench: b, to: &configured{gateway: &gateway{process: &process{}}, public: srv.URL, file: file}}
			err = m.measure(t.Context())
			if got := m.failed.Load() > 0; got != tt.failed || got != (err != nil) {
				t.Errorf("measure = %v, %d failed", err, m.failed.Load())
			}
			if got := m.dropped.Load() > 0; got != tt.dropped || m.broken.Load() != 0 {
				t.Errorf("%d connections were dropped, %d streams broken", m.dropped.Load(), m.broken.Load())
			}
			if err != nil {
				return
			}
			var out bytes.Buffer
			b.print(&out, m)
			if len(m.took) != 2 || !strings.Contains(out.String(), "2 changes of the configuration, 3 clients, 2 streams") {
				t.Errorf("%d changes, %s", len(m.took), out.String())
			}
		})
	}
}

func TestReloadVersions(t *testing.T) {
	l := &lab{dir: t.TempDir()}
	file, err := l.file("goapi.yaml", new(reloadBench).version(3))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(file, func(string) (string, bool) { return "", false }); err != nil {
		t.Error(err)
	}
}
