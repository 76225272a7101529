package tracing_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/goapi-dev/goapi/tracing"
)

// What the next handler gets is one traceparent; of a good one the trace is kept.
func TestParents(t *testing.T) {
	const zeros = "00000000000000000000000000000000"
	tests := []struct {
		name string
		sent []string
		good bool
	}{
		{"none", nil, false},
		{"one", []string{sampled}, true},
		{"not sampled", []string{dropped}, true},
		{"of random id", []string{"00-" + traceID + "-" + spanID + "-03"}, true},
		{"of flags that nobody knows", []string{"00-" + traceID + "-" + spanID + "-ff"}, true},
		{"of a later version", []string{"cc-" + traceID + "-" + spanID + "-01"}, true},
		{"of a later version that says more", []string{"cc-" + traceID + "-" + spanID + "-01-what-comes"}, true},
		{"of a later version that is longer", []string{"cc-" + traceID + "-" + spanID + "-01.what"}, false},
		{"of no version", []string{"ff-" + traceID + "-" + spanID + "-01"}, false},
		{"longer", []string{sampled + "-00"}, false},
		{"shorter", []string{sampled[:54]}, false},
		{"empty", []string{""}, false},
		{"two", []string{sampled, sampled}, false},
		{"two in one", []string{sampled + "," + sampled}, false},
		{"in capitals", []string{strings.ToUpper(sampled)}, false},
		{"no digits", []string{strings.Replace(sampled, "0af7", "0xf7", 1)}, false},
		{"a trace of zeros", []string{"00-" + zeros + "-" + spanID + "-01"}, false},
		{"a span of zeros", []string{"00-" + traceID + "-" + zeros[:16] + "-01"}, false},
		{"other separators", []string{strings.ReplaceAll(sampled, "-", "_")}, false},
		{"spaces", []string{" " + sampled}, false},
	}
	for _, tt := range tests {
		for _, sample := range []float64{-1, 1} {
			t.Run(tt.name, func(t *testing.T) {
				tr, done := recorder(t, &tracing.Options{Sample: sample})
				got := send(tr.Middleware, tt.sent...)["Traceparent"]
				if len(got) != 1 || !regexp.MustCompile(anyTrace).MatchString(got[0]) {
					t.Fatalf("sample %v: the next handler got %q, want one traceparent", sample, got)
				}
				if kept := strings.Contains(got[0], traceID); kept != tt.good {
					t.Errorf("sample %v: the next handler got %q of %q, kept: %t", sample, got, tt.sent, kept)
				}
				if strings.Contains(got[0], spanID) {
					t.Errorf("sample %v: the span is still the client's: %q", sample, got)
				}
				if recorded := len(done()) == 1; recorded != (sample == 1) || recorded != (got[0][54]&1 == 1) {
					t.Errorf("sample %v: recorded: %t, as %q", sample, recorded, got)
				}
			})
		}
	}
}

func TestStates(t *testing.T) {
	many := make([]string, 40)
	for i := range many {
		many[i] = string(rune('a'+i%26)) + string(rune('a'+i/26)) + "=1"
	}
	tests := []struct {
		name    string
		parent  string
		sent    []string
		want    []string
		restart bool
	}{
		{"none", sampled, nil, nil, false},
		{"one", sampled, []string{"a=1,b=2"}, []string{"a=1,b=2"}, false},
		{"two become one", sampled, []string{"a=1", "b=2"}, []string{"a=1,b=2"}, false},
		{"malformed", sampled, []string{"A=1;"}, nil, false},
		{"too many", sampled, []string{strings.Join(many, ",")}, nil, false},
		{"without a trace", "", []string{"a=1"}, nil, false},
		{"of a trace that is malformed", strings.ToUpper(sampled), []string{"a=1"}, nil, false},
		{"of a trace that is not carried on", sampled, []string{"a=1"}, nil, true},
	}
	for _, tt := range tests {
		for _, sample := range []float64{-1, 1} {
			t.Run(tt.name, func(t *testing.T) {
				opts := &tracing.Options{Sample: sample}
				if tt.restart {
					opts.Incoming = tracing.Restart
				}
				tr, done := recorder(t, opts)
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				if tt.parent != "" {
					r.Header.Set("Traceparent", tt.parent)
				}
				if tt.sent != nil {
					r.Header["Tracestate"] = tt.sent
				}
				tr.Middleware(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
				if got := r.Header["Tracestate"]; !slices.Equal(got, tt.want) {
					t.Errorf("sample %v: the next handler got %q of %q, want %q", sample, got, tt.sent, tt.want)
				}
				done()
			})
		}
	}
}

func TestIncoming(t *testing.T) {
	tests := []struct {
		name     string
		incoming tracing.Incoming
		sample   float64
		sent     string
		kept     bool // the trace
		recorded bool
	}{
		{"a client cannot have itself recorded", tracing.Join, -1, sampled, true, false},
		{"nor the contrary", tracing.Join, 1, dropped, true, true},
		{"who is trusted can", tracing.Trust, -1, sampled, true, true},
		{"in both ways", tracing.Trust, 1, dropped, true, false},
		{"and without a trace the sample decides", tracing.Trust, 1, "", false, true},
		{"as it does where nobody is trusted", tracing.Trust, -1, "", false, false},
		{"a new trace", tracing.Restart, -1, sampled, false, false},
		{"a new trace that is recorded", tracing.Restart, 1, sampled, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr, done := recorder(t, &tracing.Options{Incoming: tt.incoming, Sample: tt.sample})
			var sent []string
			if tt.sent != "" {
				sent = []string{tt.sent}
			}
			got := send(tr.Middleware, sent...)["Traceparent"][0]
			if kept := strings.Contains(got, traceID); kept != tt.kept {
				t.Errorf("the next handler got %s, want the client's trace: %t", got, tt.kept)
			}
			spans := done()
			if (len(spans) == 1) != tt.recorded || (got[54]&1 == 1) != tt.recorded {
				t.Fatalf("%d spans, and flags %s; want recorded: %t", len(spans), got[53:], tt.recorded)
			}
			if !tt.recorded {
				return
			}
			s := &spans[0]
			if parent := s.Parent.SpanID().String() == spanID; parent != tt.kept {
				t.Errorf("the parent is the client's span: %t, want %t", parent, tt.kept)
			}
			if linked := len(s.Links) == 1 && s.Links[0].SpanContext.SpanID().String() == spanID; linked != (tt.incoming == tracing.Restart) {
				t.Errorf("links = %v", s.Links)
			}
		})
	}
}

// The sample is not decided by the id of the trace, which the client chooses.
func TestSample(t *testing.T) {
	tr, done := recorder(t, &tracing.Options{Sample: 0.1})
	for range 1000 {
		send(tr.Middleware, "00-00000000000000000000000000000001-"+spanID+"-01")
	}
	if n := len(done()); n < 40 || n > 200 {
		t.Errorf("%d of 1,000 requests of one trace are recorded, want about 100", n)
	}
}

func TestConnectionCannotTakeTheTrace(t *testing.T) {
	tests := []struct{ sent, want string }{
		{"traceparent", ""},
		{"keep-alive, TraceParent ,x-hop", "keep-alive,x-hop"},
		{"TRACESTATE,close", "close"},
		{"x-trace-parent", "x-trace-parent"},
		{"keep-alive", "keep-alive"},
	}
	tr, done := recorder(t, nil)
	defer done()
	for _, tt := range tests {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Connection", tt.sent)
		tr.Middleware(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
		if got := strings.ReplaceAll(r.Header.Get("Connection"), ", ", ","); got != tt.want {
			t.Errorf("Connection %q became %q, want %q", tt.sent, got, tt.want)
		}
	}
}

// Programs within the gateway that use OpenTelemetry find the span.
func TestSpanIsInTheContext(t *testing.T) {
	for _, sample := range []float64{-1, 1} {
		tr, done := recorder(t, &tracing.Options{Sample: sample})
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		tr.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			sc := trace.SpanContextFromContext(r.Context())
			if parent := r.Header.Get("Traceparent"); parent[3:35] != sc.TraceID().String() || parent[36:52] != sc.SpanID().String() {
				t.Errorf("sample %v: the context has %v, the header %s", sample, sc, parent)
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
		done()
	}
}

// What is read of a header agrees with OpenTelemetry's own reading of it, and
// what is written can be read.
func FuzzParent(f *testing.F) {
	f.Add(sampled, "a=1")
	f.Add(dropped, "a=1,b=2,")
	f.Add("cc-"+traceID+"-"+spanID+"-01-x", "A")
	f.Add(strings.ToUpper(sampled), "")
	tr, err := tracing.New(f.Context(), &tracing.Options{Exporter: new(kept), Sample: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = tr.Close() })
	f.Fuzz(func(t *testing.T, parent, state string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Traceparent"], r.Header["Tracestate"] = []string{parent}, []string{state}
		their := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(t.Context(), propagation.HeaderCarrier(r.Header)))
		var our trace.SpanContext
		tr.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			our = trace.SpanContextFromContext(r.Context())
			written := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(t.Context(), propagation.HeaderCarrier(r.Header)))
			if len(r.Header["Traceparent"]) != 1 || len(r.Header["Tracestate"]) > 1 || !written.Equal(our.WithRemote(true)) {
				t.Errorf("%q, %q is passed on as %v, and is %v", parent, state, r.Header, our)
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
		if their.IsValid() && (their.TraceID() != our.TraceID() || their.TraceState().String() != our.TraceState().String()) {
			t.Errorf("%q, %q is %v, want %v", parent, state, our, their)
		}
		if their.IsValid() && our.SpanID() == their.SpanID() {
			t.Errorf("%q: the span is the client's", parent)
		}
	})
}

func BenchmarkMiddleware(b *testing.B) {
	for name, bench := range map[string]struct {
		sample float64
		parent []string
	}{
		"unrecorded":            {-1, nil},
		"unrecorded of a trace": {-1, []string{sampled}},
		"recorded":              {1, nil},
	} {
		b.Run(name, func(b *testing.B) {
			tr, err := tracing.New(b.Context(), &tracing.Options{Exporter: new(kept), Sample: bench.sample})
			if err != nil {
				b.Fatal(err)
			}
			h := tr.Middleware(tr.Handler("rpc", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })))
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/hello/you", nil)
			b.ReportAllocs()
			for b.Loop() {
				delete(r.Header, "Traceparent")
				if bench.parent != nil {
					r.Header["Traceparent"] = bench.parent
				}
				h.ServeHTTP(w, r)
			}
		})
	}
}
