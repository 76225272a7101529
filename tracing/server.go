package tracing

import (
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/goapi-dev/goapi"
)

// maxText bounds the texts in spans, in bytes.
const maxText = 512

// Middleware returns next, with a span for each of its requests that is recorded,
// and one traceparent with all of them. The span is named by method and route,
// and ends with the handler.
func (t *Tracer) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parent := take(r.Header)
		if t.records(parent) {
			t.record(w, r, parent, next)
			return
		}
		if t.opts.Incoming == Restart {
			parent = trace.SpanContext{}
		}
		sc := unrecorded(parent)
		give(r.Header, sc)
		next.ServeHTTP(w, r.WithContext(trace.ContextWithSpanContext(r.Context(), sc)))
	})
}

// records decides whether a request is recorded.
func (t *Tracer) records(parent trace.SpanContext) bool {
	if t.opts.Incoming == Trust && parent.IsValid() {
		return parent.IsSampled()
	}
	// Not by the id of the trace, which is the client's to choose.
	return t.opts.Sample >= 1 || rand.Float64() < t.opts.Sample //nolint:gosec // a sample
}

// record serves a request, with a span.
func (t *Tracer) record(w http.ResponseWriter, r *http.Request, parent trace.SpanContext, next http.Handler) {
	ex := goapi.ExchangeFrom(r.Context())
	if ex == nil {
		w, r, ex = goapi.NewExchange(w, r)
	}
	method, attributes := t.requestAttributes(r, ex)
	opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attributes...)}
	ctx := r.Context()
	switch {
	case t.opts.Incoming == Restart && parent.IsValid():
		opts = append(opts, trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: parent}))
	case parent.IsValid():
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	ctx, span := t.tracer.Start(ctx, method, opts...)
	give(r.Header, span.SpanContext())
	cut := true
	defer func() {
		endServer(span, ex, method, cut)
		span.End()
	}()
	next.ServeHTTP(w, r.WithContext(ctx))
	cut = false
}

// requestAttributes returns what a request says of itself, and what its span is
// named by.
func (t *Tracer) requestAttributes(r *http.Request, ex *goapi.Exchange) (method string, attributes []attribute.KeyValue) {
	attributes = make([]attribute.KeyValue, 0, 12)
	method = r.Method
	if isKnown(method) {
		attributes = append(attributes, semconv.HTTPRequestMethodKey.String(method))
	} else {
		attributes = append(attributes, semconv.HTTPRequestMethodOther, semconv.HTTPRequestMethodOriginal(clip(method)))
		method = "HTTP"
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	attributes = append(attributes, semconv.URLScheme(scheme), semconv.URLPath(clip(r.URL.EscapedPath())), semconv.NetworkProtocolVersion(protocolVersion(r)))
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if host != "" {
		attributes = append(attributes, semconv.ServerAddress(clip(host)))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		attributes = append(attributes, semconv.ServerPort(int(n)))
	}
	if agent := r.UserAgent(); agent != "" {
		attributes = append(attributes, semconv.UserAgentOriginal(clip(agent)))
	}
	if client := clientOf(r, ex); t.opts.Client && client.IsValid() {
		attributes = append(attributes, semconv.ClientAddress(client.String()))
	}
	return method, attributes
}

// clientOf returns the address of the client, or else of the peer.
func clientOf(r *http.Request, ex *goapi.Exchange) netip.Addr {
	if ex.Client.IsValid() {
		return ex.Client
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap()
}

// endServer adds what is known of a request in the end.
func endServer(span trace.Span, ex *goapi.Exchange, method string, cut bool) {
	if rt := ex.Route; rt != nil {
		if rt.Pattern != "" {
			span.SetName(method + " " + clip(rt.Pattern))
			span.SetAttributes(semconv.HTTPRoute(clip(rt.Pattern)))
		}
		span.SetAttributes(routeAttributes(rt)...)
	}
	if ex.Attempts > 0 {
		span.SetAttributes(attribute.String("goapi.node", clip(ex.Node)), attribute.Int("goapi.attempts", ex.Attempts))
	}
	status := statusOf(ex, cut)
	if status > 0 {
		span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	}
	endWith(span, ex, status, status >= http.StatusInternalServerError, cut)
}

// routeAttributes returns what a route is to.
func routeAttributes(rt *goapi.Route) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("goapi.service", clip(rt.Service)),
		attribute.String("goapi.endpoint", clip(rt.Endpoint.Name)),
		attribute.String("goapi.handler", clip(rt.Endpoint.Handler)),
	}
}

// statusOf returns the status of an answer; 0 if there was none.
func statusOf(ex *goapi.Exchange, cut bool) int {
	if ex.Status == 0 && !cut {
		return http.StatusOK // which net/http answers for a handler that wrote nothing
	}
	return ex.Status
}

// endWith says how a span has ended: of an error what the client was told.
func endWith(span trace.Span, ex *goapi.Exchange, status int, failed, cut bool) {
	detail := ""
	if ex.Err != nil {
		detail = clip(detailOf(ex.Err))
		span.SetAttributes(attribute.String("goapi.error", detail))
	}
	switch {
	case cut:
		span.SetAttributes(semconv.ErrorTypeKey.String("cut"))
		span.SetStatus(codes.Error, "the answer broke off")
	case failed:
		span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(status)))
		span.SetStatus(codes.Error, detail)
	}
}
