package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
)

// TestFanout measures a handler in this process.
func TestFanout(t *testing.T) {
	var mem broker.Memory
	gateway := httptest.NewServer(handler.Broker(&mem, &handler.BrokerOptions{Publish: []string{"**"}, Subscribe: []string{"**"}}))
	defer gateway.Close()
	b := &fanoutBench{subscribers: 20, rate: 1000, duration: 50 * time.Millisecond}
	m, err := b.measure(t.Context(), &process{name: "this", pid: os.Getpid()}, gateway.Listener.Addr().String(), "/?topic=ticks")
	if err != nil {
		t.Fatal(err)
	}
	if len(m.took) != 20*50 || m.server <= 0 || m.clients <= 0 {
		t.Errorf("measure = %d messages, %v and %v cores; want 1000, and cores above 0", len(m.took), m.server, m.clients)
	}
	if most, least := quantile(m.took, 1), quantile(m.took, 0); least <= 0 || most > time.Minute {
		t.Errorf("a message took from %v to %v", least, most)
	}
	var out bytes.Buffer
	b.print(&out, m)
	for _, want := range []string{"20 clients, 1000 messages a second for 50ms", "| 1000 messages |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("print = %s\nwant %q in it", out.String(), want)
		}
	}
}

func TestFanoutOfMessagesThatDoNotCome(t *testing.T) {
	b := &fanoutBench{subscribers: 2, rate: 1000, duration: 5 * time.Millisecond}
	for name, h := range map[string]http.HandlerFunc{
		"refused": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"ended": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			w.WriteHeader(map[string]int{http.MethodGet: http.StatusOK, http.MethodPost: http.StatusAccepted}[r.Method])
		},
		"without the time": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "data: soon, or never at all\n\n") },
	} {
		gateway := httptest.NewServer(h)
		_, err := b.measure(t.Context(), &process{name: "this", pid: os.Getpid()}, gateway.Listener.Addr().String(), "/?topic=ticks")
		if err == nil {
			t.Errorf("%s: measure has no error", name)
		}
		gateway.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.measure(ctx, &process{name: "this", pid: os.Getpid()}, "127.0.0.1:1", "/"); err == nil {
		t.Error("measure that is interrupted has no error")
	}
}

// TestStreamTakes cuts what a stream sends into pieces of every size.
func TestStreamTakes(t *testing.T) {
	sent := time.Now()
	event := fmt.Sprintf("2a\r\nid: 1\ndata: %d xxx\n\n\r\n", sent.UnixNano())
	text := []byte(": ping\n\n" + event + event + event)
	for size := 1; size <= len(text); size++ {
		var (
			s    stream
			have []byte
		)
		for rest := text; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			have = append(have, rest[:min(size, len(rest))]...)
			taken, err := s.take(have, sent.Add(time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			have = have[taken:]
		}
		if len(s.took) != 3 || s.took[2] != time.Millisecond {
			t.Errorf("pieces of %d bytes: took = %v, want 1ms three times", size, s.took)
		}
	}
	if _, err := new(stream).take([]byte("data: 0123456789 123456789\n"), sent); err == nil {
		t.Error("take of what is no time: no error")
	}
}
