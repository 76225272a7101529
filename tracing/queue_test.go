package tracing_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/goapi-dev/goapi/tracing"
)

func TestNewErrors(t *testing.T) {
	tests := []struct {
		name string
		opts tracing.Options
		want string
	}{
		{"incoming", tracing.Options{Incoming: "maybe"}, `tracing: incoming "maybe": want join, trust or restart`},
		{"sample", tracing.Options{Sample: 1.5}, "tracing: sample 1.5: want a share from 0 to 1, such as 0.01 for a hundredth"},
		{"no sample", tracing.Options{Sample: math.NaN()}, "tracing: sample NaN: want a share from 0 to 1, such as 0.01 for a hundredth"},
		{"no URL", tracing.Options{Endpoint: "http://user:s3cret@[::"}, "tracing: the endpoint is no URL: want one such as http://127.0.0.1:4318 or grpc://127.0.0.1:4317"},
		{"no host", tracing.Options{Endpoint: "http:///v1"}, "tracing: endpoint http:///v1: want SCHEME://HOST:PORT"},
		{"no scheme", tracing.Options{Endpoint: "collector:4317"}, "tracing: endpoint collector:4317: want SCHEME://HOST:PORT"},
		{"a query", tracing.Options{Endpoint: "http://c:1/?a=1"}, "tracing: endpoint http://c:1/?a=1: want SCHEME://HOST:PORT"},
		{"another scheme", tracing.Options{Endpoint: "ftp://c:1"}, `tracing: endpoint ftp://c:1: unknown scheme "ftp": want http, https, grpc or grpcs`},
		{"credentials", tracing.Options{Endpoint: "https://user:s3cret@c:1"}, "tracing: endpoint https://user:xxxxx@c:1: credentials do not belong into the URL: give them as a header"},
		{"a path over gRPC", tracing.Options{Endpoint: "grpc://c:1/v1"}, "tracing: endpoint grpc://c:1/v1: OTLP over gRPC has no path: leave /v1 out"},
		{"TLS over gRPC", tracing.Options{Endpoint: "grpcs://c:1", TLS: new(tls.Config)}, "tracing: endpoint grpcs://c:1: TLS options are for https:// only; grpcs:// is verified with the system's roots"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr, err := tracing.New(t.Context(), &tt.opts)
			if err == nil {
				_ = tr.Close()
				t.Fatal("no error")
			}
			if err.Error() != tt.want {
				t.Errorf("New = %v, want %s", err, tt.want)
			}
		})
	}
}

func TestNewConnectsToNothing(t *testing.T) {
	for _, endpoint := range []string{"", "http://127.0.0.1:1", "https://127.0.0.1:1", "grpc://127.0.0.1:1", "grpcs://127.0.0.1:1"} {
		tr, err := tracing.New(t.Context(), &tracing.Options{Endpoint: endpoint})
		if err != nil {
			t.Errorf("New(%q) = %v", endpoint, err)
			continue
		}
		if err := tr.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
}

// Spans are sent after two seconds, or when there are many.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(flaky)
		tr, end := running(t, c, nil)
		send(tr.Middleware)
		time.Sleep(2500 * time.Millisecond)
		if sizes := c.sizes(); fmt.Sprint(sizes) != "[1]" {
			t.Errorf("batches of %v after 2.5 s, want one of 1", sizes)
		}
		for range 1100 {
			send(tr.Middleware)
		}
		synctest.Wait()
		if sizes := c.sizes(); fmt.Sprint(sizes) != "[1 512 512]" {
			t.Errorf("batches of %v, want two of 512 at once", sizes)
		}
		end()
		if sizes := c.sizes(); fmt.Sprint(sizes) != "[1 512 512 76]" {
			t.Errorf("batches of %v, want the rest in the end", sizes)
		}
	})
}

// While the collector does not answer nobody waits, and what is kept is bounded;
// when it is back, so are the spans.
func TestCollectorThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(flaky)
		var log lockedBuffer
		tr, end := running(t, c, slog.New(slog.NewTextHandler(&log, nil)))
		c.set(stuck)
		for range 20 {
			for range 1000 {
				send(tr.Middleware)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if _, lost := tr.Spans(); lost < 20_000-2048-2*512 {
			t.Errorf("%d of 20,000 spans are lost, want nearly all", lost)
		}
		time.Sleep(2 * time.Minute)
		c.set(away)
		send(tr.Middleware)
		time.Sleep(time.Minute)
		c.set(there)
		send(tr.Middleware)
		time.Sleep(time.Minute)
		end()
		if sent, lost := tr.Spans(); sent != 1 || lost != 20_001 {
			t.Errorf("Spans = %d, %d; want 1 sent, and all others lost", sent, lost)
		}
		if text := log.String(); strings.Count(text, "traces lost") != 1 || strings.Count(text, "traces found") != 1 {
			t.Errorf("log = %s, want that it was lost, and found, once each", text)
		}
	})
}

// The end is bounded, whatever the collector does.
func TestEndWithACollectorThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(flaky)
		c.set(stuck)
		tr, end := running(t, c, nil)
		for range 2000 {
			send(tr.Middleware)
		}
		start := time.Now()
		end()
		if took := time.Since(start); took > 16*time.Second {
			t.Errorf("the end took %v", took)
		}
	})
}

// running returns a Tracer that runs, and what ends it.
func running(t *testing.T, e sdk.SpanExporter, log *slog.Logger) (tr *tracing.Tracer, end func()) {
	t.Helper()
	tr, err := tracing.New(t.Context(), &tracing.Options{Exporter: e, Sample: 1, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- tr.Run(ctx) }()
	return tr, func() {
		t.Helper()
		stop()
		if err := <-ran; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the context's error", err)
		}
		if err := tr.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
}

// flaky is a collector that is there, away or stuck.
type flaky struct {
	mu      sync.Mutex
	state   int
	batches []int
}

const (
	there = iota
	away
	stuck
)

func (f *flaky) set(state int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = state
}

func (f *flaky) sizes() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int(nil), f.batches...)
}

func (f *flaky) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	f.mu.Lock()
	state := f.state
	if state == there {
		f.batches = append(f.batches, len(spans))
	}
	f.mu.Unlock()
	switch state {
	case away:
		return errors.New("refused")
	case stuck:
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (f *flaky) Shutdown(context.Context) error { return nil }

// lockedBuffer is a buffer for two goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
