package tracing_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/tracing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What a client may bring.
const (
	traceID  = "0af7651916cd43dd8448eb211c80319c"
	spanID   = "b7ad6b7169203331"
	sampled  = "00-" + traceID + "-" + spanID + "-01"
	dropped  = "00-" + traceID + "-" + spanID + "-00"
	anyTrace = `^00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]$`
)

// recorder returns a Tracer and what it has recorded once it is closed.
func recorder(t *testing.T, opts *tracing.Options) (*tracing.Tracer, func() tracetest.SpanStubs) {
	t.Helper()
	var o tracing.Options
	if opts != nil {
		o = *opts
	}
	spans := new(kept)
	o.Exporter = spans
	tr, err := tracing.New(t.Context(), &o)
	if err != nil {
		t.Fatal(err)
	}
	return tr, func() tracetest.SpanStubs {
		t.Helper()
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		return spans.all
	}
}

// kept is an exporter that keeps what it is given.
type kept struct{ all tracetest.SpanStubs }

func (k *kept) ExportSpans(_ context.Context, spans []sdk.ReadOnlySpan) error {
	k.all = append(k.all, tracetest.SpanStubsFromReadOnlySpans(spans)...)
	return nil
}

func (k *kept) Shutdown(context.Context) error { return nil }

// attribute returns the value of an attribute as a text; empty for none.
func attribute(s *tracetest.SpanStub, key string) string {
	for _, kv := range s.Attributes {
		if string(kv.Key) == key {
			return kv.Value.String()
		}
	}
	return ""
}

// one returns the only span.
func one(t *testing.T, spans tracetest.SpanStubs) *tracetest.SpanStub {
	t.Helper()
	if len(spans) != 1 {
		t.Fatalf("%d spans, want 1: %+v", len(spans), spans)
	}
	return &spans[0]
}

// serve returns a handler that knows the exchange.
func serve(f func(http.ResponseWriter, *http.Request, *goapi.Exchange)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(w, r, goapi.ExchangeFrom(r.Context())) })
}

// send serves a request with these traceparents, and returns its headers as the
// next handler saw them.
func send(h func(http.Handler) http.Handler, parents ...string) http.Header {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if parents != nil {
		r.Header["Traceparent"] = parents
	}
	var got http.Header
	h(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() })).ServeHTTP(httptest.NewRecorder(), r)
	return got
}
