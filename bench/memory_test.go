package main

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

func TestPeak(t *testing.T) {
	p := &process{pid: os.Getpid()}
	if err := p.resetPeak(); err != nil {
		t.Fatal(err)
	}
	before, err := p.peak()
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 64<<20)
	for i := 0; i < len(block); i += 1 << 10 {
		block[i] = 1
	}
	after, err := p.peak()
	if err != nil || after-before < 32<<10 {
		t.Errorf("peak grew from %.0f to %.0f KiB with 64 MiB that were written, %v", before, after, err)
	}
}

func TestOpenIdle(t *testing.T) {
	for _, secure := range []bool{false, true} {
		dir := t.TempDir()
		if err := writeCertificate(dir); err != nil {
			t.Fatal(err)
		}
		certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "answer") }))
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
		if secure {
			srv.StartTLS()
		} else {
			srv.Start()
		}
		conns, err := openIdle(t.Context(), srv.Listener.Addr().String(), secure, 5)
		if err != nil || len(conns) != 5 {
			t.Errorf("openIdle, TLS %v = %d connections, %v; want 5", secure, len(conns), err)
		}
		for _, c := range conns {
			c.Close()
		}
		srv.Close()
	}
}

// TestUploads has uploads stall with and without somebody who reads them, and one
// who refuses.
func TestUploads(t *testing.T) {
	b := &memoryBench{uploads: 3, size: 4 << 20, hold: 50 * time.Millisecond}
	tests := []struct {
		name    string
		service http.Handler
		row     uploadRow
		all     bool // is taken
		refused int
	}{
		{"the client stalls", holdUp(true, nil), uploadRow{method: http.MethodPost, staller: theClient}, true, 0},
		{"the service does not read", holdUp(false, nil), uploadRow{method: http.MethodPut, http2: true, staller: service}, false, 0},
		{"refused", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }), uploadRow{method: http.MethodPost, http2: true, staller: theClient}, false, 3},
		{"of unknown length", holdUp(true, nil), uploadRow{method: http.MethodPost, chunked: true, staller: theClient}, true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(tt.service)
			srv.Config.Protocols = new(http.Protocols)
			srv.Config.Protocols.SetHTTP1(true)
			srv.Config.Protocols.SetUnencryptedHTTP2(true)
			srv.Start()
			defer srv.Close()
			var m stalled
			if err := b.upload(t.Context(), tt.row, srv.URL, &m); err != nil {
				t.Fatal(err)
			}
			if all := m.taken > 3.9; all != tt.all || m.refused != tt.refused {
				t.Errorf("%.2f MiB of each were taken, %d refused, want all: %v, and %d", m.taken, m.refused, tt.all, tt.refused)
			}
		})
	}
}

func TestEndless(t *testing.T) {
	var sent atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	e := &endless{left: 10, stalls: true, sent: &sent, ctx: ctx}
	go func() {
		for sent.Load() < 10 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if got, err := io.ReadAll(e); err != nil || len(got) != 10 || ctx.Err() == nil {
		t.Errorf("ReadAll = %d bytes, %v, before the end: %v", len(got), err, ctx.Err() == nil)
	}
}
