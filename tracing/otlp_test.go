package tracing_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // which the exporter writes
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/tracing"
)

// receiver is a collector of OTLP, over HTTP and over gRPC.
type receiver struct {
	collector.UnimplementedTraceServiceServer

	mu    sync.Mutex
	spans []*otlp.ResourceSpans
	key   string // of the last that came
}

func (c *receiver) take(req *collector.ExportTraceServiceRequest, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = append(c.spans, req.GetResourceSpans()...)
	c.key = key
}

// Export implements the service of gRPC.
func (c *receiver) Export(ctx context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c.take(req, strings.Join(md["x-key"], ","))
	return &collector.ExportTraceServiceResponse{}, nil
}

// ServeHTTP implements the other.
func (c *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body) // what cannot be read fails below
	}
	b, err := io.ReadAll(body)
	req := new(collector.ExportTraceServiceRequest)
	if err == nil {
		err = proto.Unmarshal(b, req)
	}
	if err != nil || r.URL.Path != "/v1/traces" && r.URL.Path != "/otlp" {
		http.Error(w, "no traces", http.StatusBadRequest)
		return
	}
	c.take(req, r.Header.Get("X-Key"))
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// all returns the spans, and the attributes of the gateway.
func (c *receiver) all(t *testing.T) (spans []*otlp.Span, resource map[string]string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	resource = make(map[string]string)
	for _, rs := range c.spans {
		for _, kv := range rs.GetResource().GetAttributes() {
			resource[kv.GetKey()] = kv.GetValue().GetStringValue()
		}
		for _, ss := range rs.GetScopeSpans() {
			spans = append(spans, ss.GetSpans()...)
		}
	}
	return spans, resource
}

func TestOTLP(t *testing.T) {
	tests := map[string]func(*testing.T, *receiver) string{
		"over HTTP": func(t *testing.T, c *receiver) string {
			s := httptest.NewServer(c)
			t.Cleanup(s.Close)
			return s.URL
		},
		"over HTTP to a path": func(t *testing.T, c *receiver) string {
			s := httptest.NewServer(c)
			t.Cleanup(s.Close)
			return s.URL + "/otlp"
		},
		"over gRPC": func(t *testing.T, c *receiver) string {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			srv := grpc.NewServer()
			collector.RegisterTraceServiceServer(srv, c)
			var served sync.WaitGroup
			served.Go(func() { _ = srv.Serve(ln) })
			t.Cleanup(func() {
				srv.Stop()
				served.Wait()
			})
			return "grpc://" + ln.Addr().String()
		},
	}
	for name, start := range tests {
		t.Run(name, func(t *testing.T) {
			c := new(receiver)
			tr, err := tracing.New(t.Context(), &tracing.Options{
				Endpoint: start(t, c), Sample: 1, Version: "v1.2.3", Header: map[string]string{"x-key": "k"}, Attributes: map[string]string{"region": "north"},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ran := make(chan error)
			go func() { ran <- tr.Run(ctx) }()
			rt := &goapi.Route{Service: "greeter", Pattern: "/hello/{name}", Endpoint: &goapi.Endpoint{Name: "Greeter.Hello"}}
			h := tr.Middleware(goapi.With(rt, tr.Handler("rpc", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))))
			request := func() {
				r := httptest.NewRequest(http.MethodGet, "/hello/you", nil)
				r.Header.Set("Traceparent", sampled)
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
			request()
			stop()
			<-ran
			request() // when Run has ended: Close sends it
			if err := tr.Close(); err != nil {
				t.Fatal(err)
			}
			spans, resource := c.all(t)
			if len(spans) != 4 || c.key != "k" {
				t.Fatalf("%d spans with key %q, want 4 with k", len(spans), c.key)
			}
			client, server := spans[0], spans[1]
			if client.GetKind() != otlp.Span_SPAN_KIND_CLIENT || server.GetKind() != otlp.Span_SPAN_KIND_SERVER ||
				client.GetName() != "greeter/Greeter.Hello" || server.GetName() != "GET /hello/{name}" {
				t.Errorf("spans = %v and %v", client, server)
			}
			if !bytes.Equal(client.GetParentSpanId(), server.GetSpanId()) || hexOf(server.GetParentSpanId()) != spanID || hexOf(server.GetTraceId()) != traceID {
				t.Errorf("spans do not follow each other: %v, %v", client, server)
			}
			if resource["service.name"] != "goapi" || resource["service.version"] != "v1.2.3" || resource["region"] != "north" {
				t.Errorf("resource = %v", resource)
			}
			if sent, lost := tr.Spans(); sent != 4 || lost != 0 {
				t.Errorf("Spans = %d, %d; want 4, 0", sent, lost)
			}
		})
	}
}

// The environment says what the options do not.
func TestResource(t *testing.T) {
	t.Setenv("OTEL_SERVICE_NAME", "edge")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "region=south,zone=1")
	for _, tt := range []struct{ service, name string }{{"", "edge"}, {"mine", "mine"}} {
		tr, done := recorder(t, &tracing.Options{Sample: 1, Service: tt.service, Attributes: map[string]string{"region": "north"}})
		send(tr.Middleware)
		got := make(map[string]string)
		for _, kv := range one(t, done()).Resource.Attributes() {
			got[string(kv.Key)] = kv.Value.String()
		}
		if got["service.name"] != tt.name || got["region"] != "north" || got["zone"] != "1" {
			t.Errorf("resource = %v, want service %s in the north, zone 1", got, tt.name)
		}
	}
}

// A collector that is away costs requests nothing, and the log a line.
func TestCollectorAway(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	var log bytes.Buffer
	tr, err := tracing.New(t.Context(), &tracing.Options{Endpoint: gone.URL, Sample: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range 5000 {
		send(tr.Middleware)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("5,000 requests took %v", took)
	}
	if _, lost := tr.Spans(); lost != 5000-2048 {
		t.Errorf("%d spans are lost, want all but 2,048", lost)
	}
	start = time.Now()
	if err := tr.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if took := time.Since(start); took > 9*time.Second {
		t.Errorf("Close took %v", took)
	}
	if sent, lost := tr.Spans(); sent != 0 || lost != 5000 {
		t.Errorf("Spans = %d, %d; want all lost", sent, lost)
	}
	if n := strings.Count(log.String(), "collector of traces lost"); n != 1 {
		t.Errorf("the log has %d lines of it, want 1: %s", n, log.String())
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}
