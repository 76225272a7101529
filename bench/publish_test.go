package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
	natsbroker "github.com/goapi-dev/goapi/broker/nats"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/nats"
)

func TestReadAccepted(t *testing.T) {
	const accepted = "HTTP/1.1 202 Accepted\r\nDate: x\r\ncontent-length: 5\r\n\r\nhello"
	tests := []struct{ name, answer, want string }{
		{"one", accepted, ""},
		{"refused", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\naway", "503"},
		{"no length", "HTTP/1.1 202 Accepted\r\nDate: x\r\n\r\n", "no Content-Length"},
		{"bad length", "HTTP/1.1 202 Accepted\r\nContent-Length: x\r\n\r\n", "Content-Length"},
		{"cut off in its body", accepted[:len(accepted)-1], "EOF"},
		{"cut off in its head", accepted[:30], "EOF"},
		{"nothing", "", "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := readAccepted(bufio.NewReader(strings.NewReader(tt.answer)))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("readAccepted error = %v, want %q", err, tt.want)
			}
		})
	}
	two := bufio.NewReader(strings.NewReader(accepted + accepted))
	if err := errors.Join(readAccepted(two), readAccepted(two)); err != nil {
		t.Errorf("readAccepted twice: %v", err)
	}
}

// TestPublish measures handlers in this process, and the library at a server in
// it.
func TestPublish(t *testing.T) {
	server, err := nats.Start(t.Context(), t.TempDir(), &nats.ServerOptions{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	stream, err := natsbroker.Open(t.Context(), &url.URL{Scheme: "nats", Host: server.Addr()}, nil) // which makes it
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var mem broker.Memory
	mux := http.NewServeMux()
	mux.Handle("/events/", http.StripPrefix("/events", handler.Event(&mem, nil)))
	mux.Handle("/cloudevents/", http.StripPrefix("/cloudevents", handler.CloudEvents(&mem, nil)))
	mux.Handle("/broker", handler.Broker(&mem, &handler.BrokerOptions{Publish: []string{"**"}}))
	gateway := httptest.NewServer(mux)
	defer gateway.Close()

	b := &publishBench{publishers: 3, size: 20, rounds: 2, turn: 5 * time.Millisecond}
	ways := b.ways(gateway.Listener.Addr().String(), server.Addr())
	if err := b.measure(t.Context(), &process{name: "this", pid: os.Getpid()}, ways); err != nil {
		t.Fatal(err)
	}
	for _, w := range ways {
		if len(w.rate) != 2 || w.rate[0] <= 0 || w.server[0] <= 0 || w.programs[0] <= 0 {
			t.Errorf("%s = %v messages/s, CPU %v and %v; want two of each above 0", w.name, w.rate, w.server, w.programs)
		}
	}
	var out bytes.Buffer
	b.print(&out, ways)
	for _, want := range []string{"3 publishers, 20 bytes, 2 turns", "| cloudevents |", "| 1.00 | 1.00–1.00 |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("print = %s\nwant %q in it", out.String(), want)
		}
	}
}

// TestPublishIsRefused measures a gateway that lists no topic.
func TestPublishIsRefused(t *testing.T) {
	var mem broker.Memory
	gateway := httptest.NewServer(handler.Broker(&mem, nil))
	defer gateway.Close()
	b := &publishBench{publishers: 1, size: 20, rounds: 1, turn: time.Millisecond}
	ways := b.ways(gateway.Listener.Addr().String(), "127.0.0.1:1")
	err := b.measure(t.Context(), &process{name: "this", pid: os.Getpid()}, ways[3:])
	if err == nil || !strings.Contains(err.Error(), "broker: answer") || !strings.Contains(err.Error(), "403") {
		t.Errorf("measure error = %v, want what was refused", err)
	}
	if err := b.measure(t.Context(), &process{name: "this", pid: os.Getpid()}, ways[:1]); err == nil {
		t.Error("measure without a server: no error")
	}
}

func TestTogether(t *testing.T) {
	var n atomic.Int64
	one := func() error {
		n.Add(1)
		return nil
	}
	sent, err := together(t.Context(), []func() error{one, one}, time.Millisecond)
	if err != nil || int64(sent) != n.Load() || sent == 0 {
		t.Errorf("together = %d, %v, want %d", sent, err, n.Load())
	}
	if sent, err := together(t.Context(), []func() error{one, one}, 0); err != nil || sent != 2 {
		t.Errorf("together of no time = %d, %v, want one message of each", sent, err)
	}
	failed := errors.New("refused")
	if _, err := together(t.Context(), []func() error{one, func() error { return failed }}, time.Hour); !errors.Is(err, failed) {
		t.Errorf("together of one that fails: error = %v, want its own", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := together(ctx, []func() error{one}, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("together that is interrupted: error = %v, want %v", err, context.Canceled)
	}
}
