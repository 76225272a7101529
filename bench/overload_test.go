package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestOverloadService measures the service without a gateway: twice what it can do
// comes late, and none of it fails.
func TestOverloadService(t *testing.T) {
	b := &overloadBench{workers: 2, takes: 5 * time.Millisecond, times: 2, length: 200 * time.Millisecond}
	service := httptest.NewServer(b.serve())
	defer service.Close()
	a := &asker{url: service.URL, client: service.Client()}
	m := &overload{length: b.length}
	if err := b.load(t.Context(), a, m); err != nil {
		t.Fatal(err)
	}
	if got, want := len(m.answered.list), int(2*b.capacity()*b.length.Seconds()); got < want*9/10 || got > want {
		t.Errorf("%d requests were answered, want about %d", got, want)
	}
	if m.peak <= 0 || m.peak > b.capacity()*1.1 || len(m.few.list) == 0 || len(m.refused.list)+len(m.failed.list) > 0 {
		t.Errorf("peak = %.0f requests a second, %d of few, %d refused, %d failed; want at most %.0f, some, and none",
			m.peak, len(m.few.list), len(m.refused.list), len(m.failed.list), b.capacity())
	}
}

func TestAskerTellsAnswersApart(t *testing.T) {
	var n atomic.Int64
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader([]int{200, 503, 500, 504}[n.Add(1)%4])
	}))
	defer service.Close()
	a, m := &asker{url: service.URL, client: service.Client()}, new(overload)
	if err := a.open(t.Context(), 400, 100*time.Millisecond, m); err != nil {
		t.Fatal(err)
	}
	if len(m.answered.list) != 10 || len(m.refused.list) != 10 || len(m.failed.list) != 20 {
		t.Errorf("%d answered, %d refused, %d failed, want 10, 10 and 20", len(m.answered.list), len(m.refused.list), len(m.failed.list))
	}
	service.Close()
	if err := a.open(t.Context(), 100, 100*time.Millisecond, m); err == nil {
		t.Error("open of a service that is gone: no error")
	}
	if _, err := a.closed(t.Context(), 2, 100*time.Millisecond); err == nil {
		t.Error("closed of a service that is gone: no error")
	}
}

func TestAskerDoesNotAskTooMuch(t *testing.T) {
	a, m := &asker{url: "http://127.0.0.1:1"}, new(overload)
	a.asked.Store(mostAsked)
	if err := a.open(t.Context(), 100, 100*time.Millisecond, m); err != nil || len(m.failed.list) != 10 || a.asked.Load() != mostAsked {
		t.Errorf("open = %v, %d failed, %d asked; want 10 that were not sent", err, len(m.failed.list), a.asked.Load())
	}
}

func TestOverloadServiceForgetsWhoLeaves(t *testing.T) {
	h := (&overloadBench{workers: 1, takes: time.Hour}).serve()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	for range 2 { // one works, one waits
		go func() {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody))
			done <- struct{}{}
		}()
	}
	cancel()
	<-done
	<-done
}

func TestOverloadRow(t *testing.T) {
	m := &overload{peak: 1000, length: 2 * time.Second}
	for i := range 100 {
		m.few.add(time.Duration(i) * time.Millisecond / 5)
		m.answered.add(time.Duration(i) * time.Millisecond)
		m.inTime.add(0)
	}
	m.refused.add(2 * time.Millisecond)
	var out bytes.Buffer
	m.print(&out, "auto")
	if got, want := out.String(), "| auto | 1000 | 50 | 5 % | 49.0 | 98.0 | 5.0 | 0 | 2.0 | 0 |\n"; got != want {
		t.Errorf("print = %q, want %q", got, want)
	}
	out.Reset()
	new(overload).print(&out, "nothing")
	if !strings.HasPrefix(out.String(), "| nothing | ") {
		t.Errorf("print of nothing = %q", out.String())
	}
}
