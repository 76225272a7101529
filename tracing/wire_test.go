package tracing_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/client"
	clientgrpc "github.com/goapi-dev/goapi/client/grpc"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/tracing"
	"github.com/goapi-dev/goapi/upstream"
)

// arrived is the traceparents of one request, as a service got them.
type arrived []string

// A wired is a gateway before a real service, of one handler.
type wired struct {
	handler string
	route   goapi.Endpoint
	method  string
	path    string
	header  http.Header
	body    string
	http2   bool
	serve   http.Handler // of the gateway
	nodes   *upstream.Set
}

// Exactly one traceparent reaches each kind of service, whatever the client
// sent, and whether the request is recorded or not.
func TestOneParentReachesTheService(t *testing.T) {
	sends := []struct {
		name   string
		header http.Header // names go over the wire as they are
		kept   bool
	}{
		{"none", nil, false},
		{"one", http.Header{"traceparent": {sampled}}, true},
		{"not sampled", http.Header{"Traceparent": {dropped}}, true},
		{"two", http.Header{"traceparent": {sampled, dropped}}, false},
		{"two in other letters", http.Header{"traceparent": {sampled}, "TRACEPARENT": {sampled}}, false},
		{"malformed", http.Header{"Traceparent": {"00-nonsense"}}, false},
		{"in capitals", http.Header{"Traceparent": {strings.ToUpper(sampled)}}, false},
		{"for one hop", http.Header{"Traceparent": {sampled}, "Connection": {"traceparent, tracestate"}}, true},
	}
	for name, start := range services() {
		t.Run(name, func(t *testing.T) {
			got := make(chan arrived, 1)
			w := start(t, got)
			for _, sample := range []float64{-1, 1} {
				tr, done := recorder(t, &tracing.Options{Sample: sample})
				rt := &goapi.Route{Service: "echo", Pattern: "/echo", Endpoint: &w.route, Upstream: w.nodes}
				gateway := listen(t, tr.Middleware(goapi.With(rt, tr.Handler(w.handler, w.serve))), w.http2)
				for _, tt := range sends {
					if w.http2 && tt.header["Connection"] != nil {
						continue // HTTP/2 has none
					}
					w.send(t, gateway, tt.header)
					var parents arrived
					select {
					case parents = <-got:
					case <-time.After(10 * time.Second):
						t.Fatalf("%s: nothing reached the service", tt.name)
					}
					if len(parents) != 1 || !regexp.MustCompile(anyTrace).MatchString(parents[0]) {
						t.Errorf("%s, sample %v: the service got %q, want one traceparent", tt.name, sample, parents)
						continue
					}
					if kept := strings.Contains(parents[0], traceID); kept != tt.kept || strings.Contains(parents[0], spanID) {
						t.Errorf("%s, sample %v: the service got %q, want the client's trace: %t", tt.name, sample, parents, tt.kept)
					}
					if recorded := parents[0][54]&1 == 1; recorded != (sample == 1) {
						t.Errorf("%s, sample %v: the service got %q", tt.name, sample, parents)
					}
				}
				done()
			}
		})
	}
}

// services returns the gateways, by what they speak to the service.
func services() map[string]func(*testing.T, chan<- arrived) *wired {
	return map[string]func(*testing.T, chan<- arrived) *wired{
		"http":                            wireHTTP,
		"rpc, go-micro":                   wireMicro,
		"rpc, gRPC":                       wireCalledGRPC,
		"api":                             wireAPI,
		"grpc":                            wireGRPC,
		"event":                           wireEvent,
		"cloudevents":                     wireCloudEvents,
		"cloudevents, of the whole event": wireStructured,
	}
}

// httpService is a service over HTTP/1.1.
func httpService(t *testing.T, got chan<- arrived, answer string) *upstream.Set {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header["Traceparent"]
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return upstream.Static(s.Listener.Addr().String())
}

func wireHTTP(t *testing.T, got chan<- arrived) *wired {
	h := handler.HTTP(nil)
	t.Cleanup(func() { _ = h.(io.Closer).Close() })
	return &wired{handler: "http", route: goapi.Endpoint{Name: "echo"}, serve: h, nodes: httpService(t, got, "{}")}
}

// micro returns a caller of go-micro.
func micro(t *testing.T) client.Caller {
	t.Helper()
	m := client.NewMicro(nil)
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func wireMicro(t *testing.T, got chan<- arrived) *wired {
	return &wired{handler: "rpc", route: goapi.Endpoint{Name: "Echo.Call"}, serve: handler.RPC(micro(t), nil), nodes: httpService(t, got, "{}")}
}

// wireAPI also looks at the message, which has the headers of the request.
func wireAPI(t *testing.T, got chan<- arrived) *wired {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var msg struct {
			Header map[string]struct{ Values []string }
		}
		parents := arrived(r.Header["Traceparent"])
		if err := json.NewDecoder(r.Body).Decode(&msg); err != nil || len(parents) != 1 || len(msg.Header["Traceparent"].Values) != 1 ||
			msg.Header["Traceparent"].Values[0] != parents[0] {
			t.Errorf("the message says %v, the metadata %q: %v", msg.Header, parents, err)
		}
		got <- parents
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(s.Close)
	return &wired{handler: "api", route: goapi.Endpoint{Name: "Echo.Call"}, serve: handler.API(micro(t), nil), nodes: upstream.Static(s.Listener.Addr().String())}
}

// grpcService is a service of gRPC that answers each message with an empty one.
func grpcService(t *testing.T, got chan<- arrived) *upstream.Set {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(s.Context())
		got <- md["traceparent"]
		var msg []byte
		if err := s.RecvMsg(&msg); err != nil {
			return err
		}
		return s.SendMsg([]byte{})
	}))
	var served sync.WaitGroup
	served.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() {
		srv.Stop()
		served.Wait()
	})
	node := &registry.Node{ID: "echo-1", Address: ln.Addr().String(), Metadata: map[string]string{"protocol": "grpc"}}
	return upstream.NewPools(nil).Update("echo", []*registry.Service{{Name: "echo", Nodes: []*registry.Node{node}}}).All()
}

func wireCalledGRPC(t *testing.T, got chan<- arrived) *wired {
	caller := clientgrpc.New(nil)
	t.Cleanup(func() { _ = caller.Close() })
	return &wired{
		handler: "rpc", route: goapi.Endpoint{Name: "Echo.Call"}, serve: handler.RPC(caller, nil), nodes: grpcService(t, got),
		header: http.Header{"Content-Type": {"application/protobuf"}},
	}
}

func wireGRPC(t *testing.T, got chan<- arrived) *wired {
	h := handler.GRPC(nil)
	t.Cleanup(func() { _ = h.(io.Closer).Close() })
	return &wired{
		handler: "rpc", route: goapi.Endpoint{Name: "Echo.Call"}, serve: h, nodes: grpcService(t, got),
		path: "/echo.Echo/Call", http2: true, body: "\x00\x00\x00\x00\x00",
		header: http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}},
	}
}

// topic is a broker with one subscriber, who reports what messages say.
func topic(t *testing.T, got chan<- arrived) broker.Broker {
	t.Helper()
	b := new(broker.Memory)
	s, err := b.Subscribe(t.Context(), "echoes", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var received sync.WaitGroup
	received.Go(func() {
		for {
			d, err := s.Next(ctx)
			if err != nil {
				return
			}
			var parents arrived
			for name, value := range d.Header {
				if strings.EqualFold(name, "traceparent") {
					parents = append(parents, value)
				}
			}
			got <- parents
			_ = d.Ack(ctx)
		}
	})
	t.Cleanup(func() {
		stop()
		received.Wait()
		_ = s.Close()
	})
	return b
}

func wireEvent(t *testing.T, got chan<- arrived) *wired {
	return &wired{handler: "event", route: goapi.Endpoint{Name: "Echo.Call", Topic: "echoes"}, serve: handler.Event(topic(t, got), nil)}
}

func wireCloudEvents(t *testing.T, got chan<- arrived) *wired {
	return &wired{handler: "cloudevents", route: goapi.Endpoint{Name: "Echo.Call", Topic: "echoes"}, serve: handler.CloudEvents(topic(t, got), nil)}
}

func wireStructured(t *testing.T, got chan<- arrived) *wired {
	return &wired{
		handler: "cloudevents", route: goapi.Endpoint{Name: "Echo.Call", Topic: "echoes"},
		serve:  handler.CloudEvents(topic(t, got), &handler.CloudEventsOptions{Mode: handler.CloudEventsStructured}),
		header: http.Header{"Content-Type": {"application/cloudevents+json"}},
		body:   `{"specversion":"1.0","id":"{new}","source":"/test","type":"test","data":{}}`,
	}
}

// send sends a request with these headers, and expects an answer that is good.
func (w *wired) send(t *testing.T, gateway string, header http.Header) {
	t.Helper()
	method, path, body := w.method, w.path, w.body
	if method == "" {
		method = http.MethodPost
	}
	if path == "" {
		path = "/echo"
	}
	if body == "" && w.header == nil {
		body = "{}"
	}
	req, err := http.NewRequestWithContext(t.Context(), method, gateway+path, strings.NewReader(strings.Replace(body, "{new}", rand.Text(), 1)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	maps.Copy(req.Header, w.header)
	maps.Copy(req.Header, header)
	var protocols http.Protocols
	protocols.SetHTTP1(!w.http2)
	protocols.SetUnencryptedHTTP2(w.http2)
	transport := &http.Transport{Protocols: &protocols}
	defer transport.CloseIdleConnections()
	rsp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(rsp.Body)
	rsp.Body.Close()
	if status := rsp.Trailer.Get("Grpc-Status"); err != nil || rsp.StatusCode >= 300 || status != "" && status != "0" {
		t.Fatalf("answer = %d, gRPC %q: %s, %v", rsp.StatusCode, status, answer, err)
	}
}

// listen serves h, over both versions of HTTP, and returns its URL.
func listen(t *testing.T, h http.Handler, http2 bool) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	if http2 {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// raw is a codec of bytes.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	b, _ := v.([]byte)
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	if p, ok := v.(*[]byte); ok {
		*p = data.Materialize()
	}
	return nil
}
