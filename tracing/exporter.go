package tracing

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// How an exporter tries again what the collector did not take.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Second
)

// newExporter returns what sends spans to the collector.
func newExporter(ctx context.Context, o *Options) (sdk.SpanExporter, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, errors.New("tracing: the endpoint is no URL: want one such as http://127.0.0.1:4318 or grpc://127.0.0.1:4317")
	}
	var client otlptrace.Client
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("tracing: endpoint %s: credentials do not belong into the URL: give them as a header", u.Redacted())
	case u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("tracing: endpoint %s: want SCHEME://HOST:PORT", u)
	case u.Scheme == "http" || u.Scheme == "https":
		client = overHTTP(o, u)
	case u.Scheme != "grpc" && u.Scheme != "grpcs":
		return nil, fmt.Errorf("tracing: endpoint %s: unknown scheme %q: want http, https, grpc or grpcs", u, u.Scheme)
	case u.Path != "" && u.Path != "/":
		return nil, fmt.Errorf("tracing: endpoint %s: OTLP over gRPC has no path: leave %s out", u, u.Path)
	case u.Scheme == "grpcs" && o.TLS != nil:
		return nil, fmt.Errorf("tracing: endpoint %s: TLS options are for https:// only; grpcs:// is verified with the system's roots", u)
	default:
		client = overGRPC(o, u)
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("tracing: endpoint %s: %w", u, err)
	}
	return exporter, nil
}

func overHTTP(o *Options, u *url.URL) otlptrace.Client {
	path := u.Path
	if path == "" || path == "/" {
		path = "/v1/traces"
	}
	opts := []otlptracehttp.Option{
		otlptracehttp.WithEndpoint(u.Host),
		otlptracehttp.WithURLPath(path),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithTimeout(sendTimeout),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: firstRetry, MaxInterval: lastRetry, MaxElapsedTime: sendTimeout}),
	}
	if len(o.Header) > 0 {
		opts = append(opts, otlptracehttp.WithHeaders(o.Header))
	}
	switch {
	case u.Scheme == "http":
		opts = append(opts, otlptracehttp.WithInsecure())
	case o.TLS != nil:
		opts = append(opts, otlptracehttp.WithTLSClientConfig(o.TLS.Clone()))
	}
	return otlptracehttp.NewClient(opts...)
}

func overGRPC(o *Options, u *url.URL) otlptrace.Client {
	opts := []otlptracegrpc.Option{
		otlptracegrpc.WithEndpoint(u.Host),
		otlptracegrpc.WithCompressor("gzip"),
		otlptracegrpc.WithTimeout(sendTimeout),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: true, InitialInterval: firstRetry, MaxInterval: lastRetry, MaxElapsedTime: sendTimeout}),
	}
	if len(o.Header) > 0 {
		opts = append(opts, otlptracegrpc.WithHeaders(o.Header))
	}
	if u.Scheme == "grpc" {
		opts = append(opts, otlptracegrpc.WithInsecure())
	}
	return otlptracegrpc.NewClient(opts...)
}
