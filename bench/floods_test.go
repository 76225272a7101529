package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestFlood(t *testing.T) {
	for _, kind := range floodKinds() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan string)
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			head := make([]byte, 24)
			_, _ = io.ReadFull(c, head)
			c.Close()
			got <- string(head) + c.RemoteAddr().(*net.TCPAddr).IP.String()
		}()
		if err := kind.flood(t.Context(), l.Addr().String()); err != nil {
			t.Errorf("%s: %v", kind.name, err)
		}
		if told, want := <-got, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+floodFrom; told != want {
			t.Errorf("%s begins with %q, want %q", kind.name, told, want)
		}
		l.Close()
	}
}

// TestFloodElsewhere floods where nobody answers, for as long as it is told to.
func TestFloodElsewhere(t *testing.T) {
	sink, err := drain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	for _, kind := range floodKinds() {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := kind.flood(ctx, sink.Addr().String()); err != nil || ctx.Err() == nil {
			t.Errorf("%s: %v, ended too soon: %v", kind.name, err, ctx.Err() == nil)
		}
		cancel()
	}
}

func TestFloodedCounts(t *testing.T) {
	var f flooded
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	for range 3 {
		go func() {
			f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPost, "/flood", http.NoBody))
			done <- struct{}{}
		}()
	}
	for f.most.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	for range 3 {
		<-done
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/other", http.NoBody))
	if f.now.Load() != 0 || f.most.Load() != 3 || w.Body.String() != "answer" {
		t.Errorf("now %d, most %d, others get %q", f.now.Load(), f.most.Load(), w.Body)
	}
}
