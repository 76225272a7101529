package tracing

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// The headers of W3C Trace Context, as net/http has them.
const (
	headerParent = "Traceparent"
	headerState  = "Tracestate"
)

// parentSize is the length of a traceparent of version 00.
const parentSize = 55

// take returns the span that a request says it comes from; none if it says
// nothing, or nothing that can be relied on: two, for example. Its headers are
// the gateway's from now on, also where Connection names them.
func take(h http.Header) trace.SpanContext {
	keepOnward(h)
	parents, states := h[headerParent], h[headerState]
	if parents == nil && states == nil {
		return trace.SpanContext{}
	}
	delete(h, headerParent)
	delete(h, headerState)
	if len(parents) != 1 {
		return trace.SpanContext{}
	}
	cfg, ok := parseParent(parents[0])
	if !ok {
		return trace.SpanContext{}
	}
	if states != nil {
		// One that is malformed says nothing of the trace, and is left out.
		cfg.TraceState, _ = trace.ParseTraceState(strings.Join(states, ","))
	}
	return trace.NewSpanContext(cfg)
}

// parseParent reads a traceparent: of version 00, or of a later one, whose
// beginning is the same.
func parseParent(s string) (trace.SpanContextConfig, bool) {
	cfg := trace.SpanContextConfig{Remote: true}
	if len(s) < parentSize || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return cfg, false
	}
	var version, flags [1]byte
	if !parseHex(version[:], s[:2]) || !parseHex(cfg.TraceID[:], s[3:35]) || !parseHex(cfg.SpanID[:], s[36:52]) || !parseHex(flags[:], s[53:55]) {
		return cfg, false
	}
	longer := len(s) > parentSize
	if version[0] == 0xff || version[0] == 0 && longer || longer && s[parentSize] != '-' {
		return cfg, false
	}
	cfg.TraceFlags = trace.TraceFlags(flags[0]) & (trace.FlagsSampled | trace.FlagsRandom)
	return cfg, cfg.TraceID.IsValid() && cfg.SpanID.IsValid()
}

// parseHex decodes digits of which the letters are small.
func parseHex(dst []byte, s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

// give makes a span the one that a request comes from, for whoever gets it next.
func give(h http.Header, sc trace.SpanContext) {
	var b [parentSize]byte
	id, span := sc.TraceID(), sc.SpanID()
	b[0], b[1], b[2], b[35], b[52] = '0', '0', '-', '-', '-'
	hex.Encode(b[3:], id[:])
	hex.Encode(b[36:], span[:])
	hex.Encode(b[53:], []byte{byte(sc.TraceFlags() & (trace.FlagsSampled | trace.FlagsRandom))})
	h[headerParent] = []string{string(b[:])}
	if state := sc.TraceState(); state.Len() > 0 {
		h[headerState] = []string{state.String()}
	}
}

// unrecorded returns a span that nobody records: of the trace of its parent, or
// of a new one.
func unrecorded(parent trace.SpanContext) trace.SpanContext {
	cfg := trace.SpanContextConfig{TraceID: parent.TraceID(), TraceFlags: parent.TraceFlags() &^ trace.FlagsSampled, TraceState: parent.TraceState()}
	if !cfg.TraceID.IsValid() {
		fill(cfg.TraceID[:8])
		fill(cfg.TraceID[8:])
	}
	fill(cfg.SpanID[:])
	return trace.NewSpanContext(cfg)
}

// fill fills 8 bytes with a random number that is not 0.
func fill(b []byte) {
	binary.BigEndian.PutUint64(b, 1+rand.Uint64N(1<<64-1)) //nolint:gosec // an id is no secret
}

// keepOnward takes the headers of the trace out of what Connection names: what
// the gateway itself sets is not the client's to keep from the service.
func keepOnward(h http.Header) {
	for i, list := range h["Connection"] {
		if len(list) < len(headerState) || !strings.Contains(strings.ToLower(list), "trace") {
			continue
		}
		options := slices.DeleteFunc(strings.Split(list, ","), func(option string) bool {
			option = strings.TrimSpace(option)
			return strings.EqualFold(option, headerParent) || strings.EqualFold(option, headerState)
		})
		lists := slices.Clone(h["Connection"])
		lists[i] = strings.Join(options, ",")
		h["Connection"] = lists
	}
}
