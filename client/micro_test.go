package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	v6Body   = `{"name":"john","age":7,"big":"9007199254740993"}` + "\n"
	v2Body   = `{"name":"john","age":7,"big":9007199254740993}` + "\n"
	protoReq = "\n\x04john\x10\x070\x81\x80\x80\x80\x80\x80\x80\x10"
	protoRes = "\n\nHello john\x10\x81\x80\x80\x80\x80\x80\x80\x10"
	v6Answer = `{"message":"Hello john","big":"9007199254740993"}` + "\n"
	v2Answer = `{"message":"Hello john","big":9007199254740993}` + "\n"
)

// Calls as go-micro's own clients made them: ours sends the same, and reads
// the recorded answers.
func TestMicroCallsAsRecorded(t *testing.T) {
	tests := []struct {
		capture, contentType, body, want string
	}{
		{"rpc-v6/call-json.txt", "application/json", v6Body, v6Answer},
		{"rpc-v6/call-default-ct.txt", "application/json", v6Body, v6Answer},
		{"rpc-v6/call-protobuf.txt", "application/protobuf", protoReq, protoRes},
		{"rpc-v6/call-json-rpc.txt", "application/json-rpc", strings.TrimSpace(v2Body), strings.TrimSpace(v2Answer)},
		{"rpc-v6/call-proto-rpc.txt", "application/proto-rpc", protoReq, protoRes},
		{"v118/call-default.txt", "application/protobuf", protoReq, protoRes},
		{"v118/call-json.txt", "application/json", v2Body, v2Answer},
		{"v2/call-default.txt", "application/protobuf", protoReq, protoRes},
		{"v2/call-json.txt", "application/json", v2Body, v2Answer},
		{"v2/v6client-to-v2server.txt", "application/json", v6Body, v2Answer},
		{"v2/v2client-to-v6server.txt", "application/protobuf", protoReq, protoRes},
		{"v4/call-default.txt", "application/json", v2Body, v2Answer},
	}
	for _, tt := range tests {
		t.Run(tt.capture, func(t *testing.T) {
			chunks := readCapture(t, tt.capture)[0]
			server := serveCapture(t, chunks)
			m := client.NewMicro(nil)
			defer m.Close()

			theirs, theirBodies := parseRequests(chunks)
			for range theirs {
				req := &client.Request{
					Service: theirs[0].Header.Get("Micro-Service"), Endpoint: "Greeter.Hello",
					ContentType: tt.contentType, Body: []byte(tt.body),
					Header: map[string]string{"foo": "bar", "X-From": theirs[0].Header.Get("X-From")},
				}
				res, err := m.Call(t.Context(), server.node, req)
				if err != nil {
					t.Fatalf("Call error = %v", err)
				}
				if got := string(res.Body); got != tt.want || res.ContentType != tt.contentType {
					t.Errorf("Call = %s %q, want %s %q", res.ContentType, got, tt.contentType, tt.want)
				}
			}
			requests, bodies := server.seen()
			for i, r := range requests {
				if got := r.Header.Get("Timeout"); got == "" || got[0] == '-' {
					t.Errorf("Timeout = %q, want one that is not negative", got)
				}
				compareHeaders(t, r.Header, theirs[i].Header)
				if !strings.HasSuffix(tt.contentType, "-rpc") && bodies[i] != theirBodies[i] {
					t.Errorf("body = %q, want %q", bodies[i], theirBodies[i])
				}
			}
		})
	}
}

// compareHeaders compares what matters of a call's header. Ids and timeouts
// differ.
func compareHeaders(t *testing.T, got, want http.Header) {
	t.Helper()
	got, want = got.Clone(), want.Clone()
	if got.Get("Micro-Id") == "" {
		t.Error("there is no Micro-Id")
	}
	if stream := got.Get("Micro-Stream"); stream != "" && stream != got.Get("Micro-Id") {
		t.Errorf("Micro-Stream = %q, want the Micro-Id %q", stream, got.Get("Micro-Id"))
	}
	if _, ok := want["Micro-Stream"]; ok {
		want["Micro-Stream"] = got["Micro-Id"]
	}
	for _, name := range []string{
		"Micro-Id", "Timeout", "User-Agent", "Content-Length", "Foo",
		"Micro-From-Service", "Micro-Namespace", "Micro-Span-Id", "Micro-Trace-Id", // what v2 adds
	} {
		got.Del(name)
		want.Del(name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

// Errors as services of each version answer them.
func TestMicroErrorsAsRecorded(t *testing.T) {
	bad := &goapi.Error{Code: 400, ID: "greeter.fail", Detail: "bad name badrequest"}
	tests := []struct {
		capture, contentType string
		want                 *goapi.Error
	}{
		{"rpc-v6/err-badrequest.txt", "application/json", bad},
		{"rpc-v6/err-badrequest-protobuf.txt", "application/protobuf", bad},
		{"rpc-v6/err-plain.txt", "application/json", &goapi.Error{Code: 500, ID: "greeter", Detail: "a plain error"}},
		{"rpc-v6/err-nomethod.txt", "application/json", &goapi.Error{Code: 404, ID: "greeter", Detail: "rpc: can't find method Nope"}},
		{"v118/err-protobuf.txt", "application/protobuf", bad},
		{"v2/err-badrequest.txt", "application/json", bad},
		{"v4/err-protobuf.txt", "application/protobuf", bad},
	}
	for _, tt := range tests {
		t.Run(tt.capture, func(t *testing.T) {
			server := serveCapture(t, readCapture(t, tt.capture)[0])
			m := client.NewMicro(nil)
			defer m.Close()
			res, err := m.Call(t.Context(), server.node, &client.Request{
				Service: "greeter", Endpoint: "Greeter.Fail", ContentType: tt.contentType,
			})
			var got *goapi.Error
			if !errors.As(err, &got) {
				t.Fatalf("Call = %v, %v, want a *goapi.Error", res, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Call error (-want +got):\n%s", diff)
			}
		})
	}
}

// A handler that panics in v6, and any error for protobuf in v2, get no
// answer at all.
func TestMicroSilenceIs504(t *testing.T) {
	for _, capture := range []string{"rpc-v6/err-panic.txt", "v2/err-badrequest-protobuf.txt"} {
		t.Run(capture, func(t *testing.T) {
			server := serveCapture(t, readCapture(t, capture)[0])
			m := client.NewMicro(nil)
			defer m.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := m.Call(ctx, server.node, &client.Request{Service: "greeter", Endpoint: "Greeter.Fail", ContentType: "application/json"})
			if got := goapi.Status(err); got != http.StatusGatewayTimeout || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Call error = %v (%d), want 504", err, got)
			}
		})
	}
}

func TestByProtocol(t *testing.T) {
	named := func(name string) client.Caller {
		return callerFunc(func(*client.Request) (*client.Response, error) {
			return &client.Response{Body: []byte(name)}, nil
		})
	}
	caller := client.ByProtocol{client.ProtocolMicro: named("micro"), client.ProtocolGRPC: named("grpc")}
	tests := []struct {
		name     string
		metadata map[string]string
		want     string
	}{
		{"mucp", map[string]string{"protocol": "mucp"}, "micro"},
		{"grpc", map[string]string{"protocol": "grpc"}, "grpc"},
		{"missing", nil, "micro"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := &registry.Node{Metadata: tt.metadata}
			res, err := caller.Call(t.Context(), n, &client.Request{Service: "greeter"})
			if err != nil || string(res.Body) != tt.want {
				t.Errorf("Call = %v, %v, want %s", res, err, tt.want)
			}
		})
	}
}

// Another node may be called, so that the error is not one that is known.
func TestByProtocolUnknown(t *testing.T) {
	n := &registry.Node{ID: "greeter-1", Metadata: map[string]string{"protocol": "thrift"}}
	req := &client.Request{Service: "greeter", Sent: func() { t.Error("Sent was called") }}
	_, err := client.ByProtocol{}.Call(t.Context(), n, req)
	var (
		foreign *client.ProtocolError
		known   *goapi.Error
	)
	if !errors.As(err, &foreign) || *foreign != (client.ProtocolError{Node: "greeter-1", Protocol: "thrift"}) || errors.As(err, &known) {
		t.Errorf("Call error = %v, want a *ProtocolError of greeter-1 and thrift, and no *goapi.Error", err)
	}
}

// A connection that is kept may turn out to be closed by the node, before
// anything was written: the node is well, and the call is made on another.
func TestMicroStaleConnection(t *testing.T) {
	tests := []struct {
		name string
		// breaks says how the connection does, at the second call.
		breaks func(*brittle, *httptest.Server) *httptrace.ClientTrace
	}{
		{"before the write", func(b *brittle, server *httptest.Server) *httptrace.ClientTrace {
			return &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
				if info.Reused {
					server.CloseClientConnections()
					<-b.closed // the transport has noticed
				}
			}}
		}},
		{"at the write", func(b *brittle, _ *httptest.Server) *httptrace.ClientTrace {
			b.err = syscall.EPIPE
			return new(httptrace.ClientTrace)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, "{}")
			}))
			defer server.Close()
			var first *brittle
			m := client.NewMicro(&client.Options{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, address)
				if err == nil && first == nil {
					first = &brittle{Conn: c, closed: make(chan struct{})}
					return first, nil
				}
				return c, err
			}})
			defer m.Close()
			n := &registry.Node{ID: "greeter-1", Address: server.Listener.Addr().String()}
			req := &client.Request{Service: "greeter", Endpoint: "Greeter.Hello", ContentType: "application/json", Body: []byte("{}")}
			if _, err := m.Call(t.Context(), n, req); err != nil {
				t.Fatal(err)
			}
			sent := 0
			req.Sent = func() { sent++ }
			res, err := m.Call(httptrace.WithClientTrace(t.Context(), tt.breaks(first, server)), n, req)
			if err != nil || string(res.Body) != "{}" || sent != 1 {
				t.Errorf("Call = %v, %v, and Sent called %d times; want an answer, and once", res, err, sent)
			}
		})
	}
}

// brittle is a connection that breaks when it is told to.
type brittle struct {
	net.Conn

	err    error         // of Write
	closed chan struct{} // with the connection
	once   sync.Once
}

func (b *brittle) Write(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return b.Conn.Write(p)
}

func (b *brittle) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Conn.Close()
}

type callerFunc func(*client.Request) (*client.Response, error)

func (f callerFunc) Call(_ context.Context, _ *registry.Node, req *client.Request) (*client.Response, error) {
	return f(req)
}
