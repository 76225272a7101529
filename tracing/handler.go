package tracing

import (
	"io"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/goapi-dev/goapi"
)

// Handler returns a handler of a gateway, of the given name, with a span for what
// it sends to a service: of kind client, and for the handlers that publish, of
// kind producer. The service gets that span as the one it comes from. Requests
// that are not recorded pass as they are. It is an io.Closer, which closes next
// if that is one.
func (t *Tracer) Handler(name string, next http.Handler) http.Handler {
	return &handler{tracer: t, name: name, next: next}
}

type handler struct {
	tracer *Tracer
	name   string
	next   http.Handler
}

// Close closes the handler within, if it is an io.Closer.
func (h *handler) Close() error {
	if c, ok := h.next.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !trace.SpanFromContext(r.Context()).IsRecording() {
		h.next.ServeHTTP(w, r)
		return
	}
	ex := goapi.ExchangeFrom(r.Context())
	if ex == nil {
		w, r, ex = goapi.NewExchange(w, r)
	}
	s := h.sending(r, ex.Route)
	ctx, span := h.tracer.tracer.Start(r.Context(), s.name, trace.WithSpanKind(s.kind), trace.WithAttributes(s.attributes...))
	give(r.Header, span.SpanContext())
	cut := true
	defer func() {
		s.end(span, ex, w.Header(), cut)
		span.End()
	}()
	h.next.ServeHTTP(w, r.WithContext(ctx))
	cut = false
}

// sending is what a handler sends to a service.
type sending struct {
	name       string
	kind       trace.SpanKind
	attributes []attribute.KeyValue
	grpc, http bool
}

// sending returns what the handler makes of a request. The route is nil on a
// mount.
func (h *handler) sending(r *http.Request, rt *goapi.Route) *sending {
	s := &sending{name: h.name, kind: trace.SpanKindInternal}
	if rt != nil {
		s.attributes = append(routeAttributes(rt), semconv.ServicePeerName(clip(rt.Service)))
	}
	switch h.name {
	case "rpc", "api", "grpc":
		s.call(h.name, r, rt)
	case "event", "cloudevents", "broker":
		s.publish(h.tracer.opts.Broker, r, rt)
	case "http", "web":
		s.forward(r)
	}
	return s
}

// call makes s a call.
func (s *sending) call(name string, r *http.Request, rt *goapi.Route) {
	s.kind = trace.SpanKindClient
	s.grpc = name == "grpc" || name == "rpc" && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
	system := "go_micro"
	if s.grpc {
		system = semconv.RPCSystemNameGRPC.Value.AsString()
	}
	s.attributes = append(s.attributes, semconv.RPCSystemNameKey.String(system))
	if rt == nil {
		return
	}
	// A method that is not announced is a word of the client's: there may be any
	// number of them, and of names not.
	s.name = clip(rt.Service)
	method := clip(rt.Endpoint.Name)
	s.attributes = append(s.attributes, semconv.RPCMethod(s.name+"/"+method))
	if e := rt.Endpoint; rt.Pattern != "" || e.Metadata != nil || e.Request != nil || e.Response != nil {
		s.name += "/" + method
	}
}

// publish makes s a message that is published, or received, on a topic.
func (s *sending) publish(system string, r *http.Request, rt *goapi.Route) {
	operation, kind := semconv.MessagingOperationTypeSend, trace.SpanKindProducer
	if r.Method == http.MethodGet && s.name == "broker" {
		operation, kind = semconv.MessagingOperationTypeReceive, trace.SpanKindConsumer
	}
	s.kind, s.name = kind, operation.Value.AsString()
	s.attributes = append(s.attributes,
		semconv.MessagingSystemKey.String(system), operation, semconv.MessagingOperationName(s.name))
	if rt != nil && rt.Endpoint.Topic != "" {
		topic := clip(rt.Endpoint.Topic)
		s.name += " " + topic
		s.attributes = append(s.attributes, semconv.MessagingDestinationName(topic))
	}
}

// forward makes s a request that is forwarded.
func (s *sending) forward(r *http.Request) {
	s.kind, s.http, s.name = trace.SpanKindClient, true, "HTTP"
	if isKnown(r.Method) {
		s.name = r.Method
		s.attributes = append(s.attributes, semconv.HTTPRequestMethodKey.String(r.Method))
		return
	}
	s.attributes = append(s.attributes, semconv.HTTPRequestMethodOther, semconv.HTTPRequestMethodOriginal(clip(r.Method)))
}

// end adds what became of it.
func (s *sending) end(span trace.Span, ex *goapi.Exchange, answer http.Header, cut bool) {
	if ex.Attempts > 0 {
		span.SetAttributes(attribute.String("goapi.node", clip(ex.Node)), attribute.Int("goapi.attempts", ex.Attempts))
	}
	status := statusOf(ex, cut)
	failed := ex.Err != nil
	switch {
	case s.grpc:
		if code := grpcStatus(answer); code != "" {
			span.SetAttributes(semconv.RPCResponseStatusCode(clip(code)))
			failed = failed || code != "0"
		}
	case s.http:
		if status > 0 {
			span.SetAttributes(semconv.HTTPResponseStatusCode(status))
		}
		if ex.Attempts > 1 {
			span.SetAttributes(semconv.HTTPRequestResendCount(ex.Attempts - 1))
		}
		failed = failed || status >= http.StatusBadRequest
	}
	endWith(span, ex, status, failed, cut)
}

// grpcStatus returns the status of an answer of gRPC; empty for none.
func grpcStatus(answer http.Header) string {
	for _, name := range []string{http.TrailerPrefix + "Grpc-Status", "Grpc-Status"} {
		if v := answer[name]; len(v) > 0 {
			return v[0]
		}
	}
	return ""
}
