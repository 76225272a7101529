package tracing_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/tracing"
)

// A handler of a gateway within the ring that all requests pass. Here, spans are
// kept in memory instead of being sent to a collector.
func Example() {
	spans := tracetest.NewInMemoryExporter()
	tracer, err := tracing.New(context.Background(), &tracing.Options{Exporter: printing{spans}, Sample: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	rt := &goapi.Route{Service: "greeter", Pattern: "/hello/{name}", Endpoint: &goapi.Endpoint{Name: "Greeter.Hello", Handler: "http"}}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("the service gets", len(r.Header["Traceparent"]), "traceparent")
		fmt.Fprint(w, "hello")
	})
	public := tracer.Middleware(goapi.With(rt, tracer.Handler("http", hello)))
	public.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/hello/you", nil))

	_ = tracer.Close() // in a server: go tracer.Run(ctx), and Close in the end
	for _, s := range spans.GetSpans().Snapshots() {
		fmt.Println(s.SpanKind(), s.Name())
	}
	// Output:
	// the service gets 1 traceparent
	// client GET
	// server GET /hello/{name}
}

// printing keeps its spans when it is shut down.
type printing struct{ *tracetest.InMemoryExporter }

func (printing) Shutdown(context.Context) error { return nil }
