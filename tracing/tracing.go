// Package tracing tells OpenTelemetry what becomes of requests: a [Tracer] makes
// spans of them, and sends those to a collector over OTLP.
//
// [Tracer.Middleware] makes the span of a request, and [Tracer.Handler] within it
// that of what a handler sends to a service. The header traceparent, as W3C Trace
// Context has it, carries the trace from one to the next. Exactly one reaches the
// service, whatever the client sent, and whether the request is recorded or not:
// handlers pass it on as a header, as metadata of a call, or with a message.
//
// # Which requests are recorded
//
// [Options.Sample] is the share. What a client brings is either carried on or not,
// as [Incoming] says; by default its trace goes on, and the gateway decides by
// itself whether it is recorded, so that nobody can have all of his requests
// recorded. A request that is not costs a little more than a microsecond.
//
// # What spans hold
//
// Spans have the attributes that the semantic conventions of OpenTelemetry (1.43)
// name for HTTP, RPC and messaging, and some that begin with goapi. They have
// neither headers, bodies nor queries, and of errors what the client was told: the
// cause is in the log, beside the id of the trace. The path is in them as it came.
//
// # Sending
//
// Spans wait in memory, at most 2,048, until [Tracer.Run] sends them. While the
// collector is away those that find no room are lost; nothing ever waits for it.
// What the options do not say of the exporter and of the resource, the environment
// does: the variables OTEL_EXPORTER_OTLP_*, OTEL_RESOURCE_ATTRIBUTES and
// OTEL_SERVICE_NAME.
package tracing

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// scope names who made the spans.
const scope = "github.com/goapi-dev/goapi/tracing"

// defaultSample is Options.Sample where it says nothing.
const defaultSample = 0.01

// Incoming says what becomes of the trace that a request belongs to already.
type Incoming string

const (
	// Join carries the trace on, and records the request if it is in the sample,
	// whatever the client says. It is for gateways that anybody may reach.
	Join Incoming = "join"
	// Trust carries the trace on, and records the request if the span before it
	// was recorded. It is for gateways behind a proxy of one's own.
	Trust Incoming = "trust"
	// Restart begins a new trace, which is linked to the one that came.
	Restart Incoming = "restart"
)

// Options adjust a Tracer. A nil *Options means all defaults.
type Options struct {
	// Endpoint is the URL of the collector: http://HOST:PORT or https://HOST:PORT
	// for OTLP over HTTP, to /v1/traces if it has no path, and grpc://HOST:PORT or
	// grpcs://HOST:PORT for OTLP over gRPC. Default: http://127.0.0.1:4318.
	Endpoint string
	// Header goes with what is sent: credentials, for example. Default: none.
	Header map[string]string
	// TLS is how a collector at https:// is called. Default: verified with the
	// system's roots.
	TLS *tls.Config
	// Exporter takes the spans instead of a collector. Default: none.
	Exporter sdk.SpanExporter
	// Sample is the share of the requests that are recorded, from 0 to 1. A
	// negative number is none. Default: 0.01.
	Sample float64
	// Incoming says what becomes of the traces of clients. Default: Join.
	Incoming Incoming
	// Service is the name of the gateway. Default: goapi.
	Service string
	// Version is that of the program. Default: not told.
	Version string
	// Attributes are further ones of the gateway. Default: none.
	Attributes map[string]string
	// Broker names the system that messages are published on, as
	// messaging.system has it. Default: goapi.
	Broker string
	// Client adds the addresses of clients. Default: they are left out.
	Client bool
	// Logger is told when the collector is lost and found. Default: none.
	Logger *slog.Logger
}

func (o *Options) orDefault() (Options, error) {
	var d Options
	if o != nil {
		d = *o
	}
	d.Endpoint = cmp.Or(d.Endpoint, "http://127.0.0.1:4318")
	d.Sample = cmp.Or(d.Sample, defaultSample)
	d.Incoming = cmp.Or(d.Incoming, Join)
	d.Broker = cmp.Or(d.Broker, "goapi")
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	switch d.Incoming {
	case Join, Trust, Restart:
	default:
		return d, fmt.Errorf("tracing: incoming %q: want join, trust or restart", d.Incoming)
	}
	if d.Sample > 1 || math.IsNaN(d.Sample) {
		return d, fmt.Errorf("tracing: sample %v: want a share from 0 to 1, such as 0.01 for a hundredth", d.Sample)
	}
	return d, nil
}

// A Tracer makes spans of requests. It may be used concurrently.
type Tracer struct {
	opts   Options
	queue  *queue
	tracer trace.Tracer
}

// New returns a Tracer. It connects to nothing until Run sends what there is.
// Whoever gets a Tracer closes it.
func New(ctx context.Context, opts *Options) (*Tracer, error) {
	o, err := opts.orDefault()
	if err != nil {
		return nil, err
	}
	res, err := o.resource(ctx)
	if err != nil {
		return nil, err
	}
	exporter := o.Exporter
	if exporter == nil {
		if exporter, err = newExporter(ctx, &o); err != nil {
			return nil, err
		}
	}
	t := &Tracer{opts: o, queue: newQueue(exporter, o.Logger)}
	provider := sdk.NewTracerProvider(
		sdk.WithSampler(sdk.AlwaysSample()), // what is not recorded does not come so far
		sdk.WithResource(res),
		sdk.WithRawSpanLimits(sdk.SpanLimits{
			AttributeValueLengthLimit: maxText, AttributeCountLimit: 64, EventCountLimit: 16, LinkCountLimit: 4,
			AttributePerEventCountLimit: 16, AttributePerLinkCountLimit: 4,
		}),
		sdk.WithSpanProcessor(t.queue),
	)
	t.tracer = provider.Tracer(scope)
	return t, nil
}

// resource says whose spans they are: the options go before the environment.
func (o *Options) resource(ctx context.Context) (*resource.Resource, error) {
	said := make([]attribute.KeyValue, 0, len(o.Attributes)+2)
	for key, value := range o.Attributes {
		said = append(said, attribute.String(key, value))
	}
	if o.Service != "" {
		said = append(said, semconv.ServiceName(o.Service))
	}
	if o.Version != "" {
		said = append(said, semconv.ServiceVersion(o.Version))
	}
	res, err := resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName("goapi")),
		resource.WithHost(),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv(),
		resource.WithAttributes(said...),
	)
	if err != nil {
		return nil, fmt.Errorf("tracing: attributes of the gateway: %w", err)
	}
	return res, nil
}

// Run sends spans until ctx is done, then those that wait, for at most 5 s, and
// returns ctx.Err(). It is called once.
func (t *Tracer) Run(ctx context.Context) error { return t.queue.run(ctx) }

// Close sends what has come since Run ended, for at most 5 s, and lets go of the
// collector. It is called after Run.
func (t *Tracer) Close() error { return t.queue.close() }

// Spans returns how many spans were sent, and how many were lost: because there
// was no room for them, or because the collector did not take them.
func (t *Tracer) Spans() (sent, lost uint64) { return t.queue.sent.Load(), t.queue.lost.Load() }
