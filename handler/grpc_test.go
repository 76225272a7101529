package handler_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/server"
	"github.com/goapi-dev/goapi/upstream"
)

func TestGRPCUnary(t *testing.T) {
	conn := connect(t, serveRelay(t, grpcRoute(grpcService(echoMessagesOfGRPC).start(t)), nil, nil))
	for _, msg := range []string{"", "hello", strings.Repeat("x", 3<<20)} {
		if got, err := invoke(limited(t), conn, msg); got != msg || err != nil {
			t.Errorf("answer to %d bytes = %d bytes, %v; want the same", len(msg), len(got), err)
		}
	}
}

func TestGRPCMetadata(t *testing.T) {
	seen := make(chan metadata.MD, 1)
	node := grpcService(func(s grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(s.Context())
		seen <- md
		_ = s.SetHeader(metadata.Pairs("answer", "a", "answer", "b", "answer-bin", "\x00\xff"))
		s.SetTrailer(metadata.Pairs("after", "c", "after-bin", "\xfe\x00"))
		return echoMessagesOfGRPC(s)
	}).start(t)
	conn := connect(t, serveRelay(t, grpcRoute(node), nil, nil), grpc.WithUserAgent("tester/1"))
	ctx := metadata.AppendToOutgoingContext(limited(t),
		"plain", "1", "plain", "2", "raw-bin", "\x00\x01\xff", "under_score", "3", "dot.ted", "4",
		"micro-topic", "forged", "micro_topic", "forged", "x-micro-from", "forged", "timeout", "1",
		"x-forwarded-for", "6.6.6.6", "x_forwarded_for", "6.6.6.6", "proxy-authorization", "mine")
	var header, trailer metadata.MD
	if _, err := invoke(ctx, conn, "hello", grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	got := receives(t, seen, "the call")
	for name, want := range map[string][]string{
		"plain": {"1", "2"}, "raw-bin": {"\x00\x01\xff"}, "under_score": {"3"}, "dot.ted": {"4"},
		"micro-topic": nil, "micro_topic": nil, "x-micro-from": nil, "timeout": nil, "proxy-authorization": nil,
		"x-forwarded-for": {"127.0.0.1"}, "x_forwarded_for": nil, "x-forwarded-proto": {"http"}, "via": {"2.0 goapi"},
		"content-type": {"application/grpc+json"},
	} {
		if !slices.Equal(got[name], want) {
			t.Errorf("the service saw %s %q, want %q", name, got[name], want)
		}
	}
	if agent := strings.Join(got["user-agent"], " "); !strings.HasPrefix(agent, "tester/1 ") {
		t.Errorf("user-agent = %q, want the client's", agent)
	}
	if want := []string{"a", "b"}; !slices.Equal(header["answer"], want) || header["answer-bin"][0] != "\x00\xff" {
		t.Errorf("header = %v, want answer %q", header, want)
	}
	if trailer["after"][0] != "c" || trailer["after-bin"][0] != "\xfe\x00" || trailer["answer"] != nil {
		t.Errorf("trailer = %v, want what was sent after, and not the header", trailer)
	}
}

func TestGRPCStatus(t *testing.T) {
	detailed, err := status.New(codes.FailedPrecondition, "100 % ☺\r\nnot ready").WithDetails(wrapperspb.String("why"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		serve grpcService
		want  *status.Status
	}{
		{"at once", func(grpc.ServerStream) error { return detailed.Err() }, detailed},
		{"behind headers", func(s grpc.ServerStream) error {
			_ = s.SendHeader(metadata.Pairs("a", "b"))
			return detailed.Err()
		}, detailed},
		{"behind a message", func(s grpc.ServerStream) error {
			_ = s.SendMsg([]byte("one"))
			return detailed.Err()
		}, detailed},
		{"unavailable", func(grpc.ServerStream) error { return status.Error(codes.Unavailable, "") }, status.New(codes.Unavailable, "")},
		{"of its own", func(grpc.ServerStream) error { return status.Error(1234, "odd") }, status.New(1234, "odd")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := connect(t, serveRelay(t, grpcRoute(tt.serve.start(t)), nil, nil))
			s := openCall(limited(t), t, conn)
			var err error
			for err == nil {
				_, err = recv(s)
			}
			got := status.Convert(err)
			if got.Code() != tt.want.Code() || got.Message() != tt.want.Message() || len(got.Details()) != len(tt.want.Details()) {
				t.Errorf("status = %v with %v, want %v with %v", got, got.Details(), tt.want, tt.want.Details())
			}
		})
	}
}

// TestGRPCTLS has TLS on both sides of the gateway.
func TestGRPCTLS(t *testing.T) {
	conf := selfSignedFor(t)
	node := grpcService(echoMessagesOfGRPC).start(t, grpc.Creds(credentials.NewTLS(conf.Clone())))
	node.Metadata["secure"] = "true"
	trusting := conf.Clone()
	trusting.Certificates = nil
	address := serveRelay(t, grpcRoute(node), &handler.GRPCOptions{TLS: trusting}, &server.Options{TLS: conf.Clone()})
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(trusting.Clone())),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wholeBytes{})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := invoke(limited(t), conn, "hello"); got != "hello" || err != nil {
		t.Errorf("answer = %q, %v; want hello", got, err)
	}
}

// TestGRPCManyStreams has more calls at a time than the node takes on a
// connection.
func TestGRPCManyStreams(t *testing.T) {
	const calls = 20
	node := grpcService(echoMessagesOfGRPC).start(t, grpc.MaxConcurrentStreams(3))
	conn := connect(t, serveRelay(t, grpcRoute(node), nil, nil))
	streams := make([]grpc.ClientStream, calls)
	for i := range streams {
		streams[i] = openCall(limited(t), t, conn)
		if err := streams[i].SendMsg([]byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range streams {
		if got, err := recv(s); got != "hello" || err != nil {
			t.Errorf("call %d = %q, %v; want hello", i, got, err)
		}
	}
}

func TestGRPCRefuses(t *testing.T) {
	mucp := grpcNode("127.0.0.1:1")
	mucp.Metadata = map[string]string{"protocol": "mucp"}
	down := killed(t)
	tests := []struct {
		name        string
		method      string
		contentType string
		header      string
		route       bool
		want        string
	}{
		{"no route", "POST", "application/grpc", "", false, "12 no route for this request"},
		{"another method", "PUT", "application/grpc", "", true, "12 a call of gRPC is a POST"},
		{"malformed timeout", "POST", "application/grpc+proto", "1", true, "3 grpc-timeout is malformed: it is up to 8 digits and one of n, u, m, S, M, H"},
		{"a node that is down", "POST", "application/grpc", "", true, "14 service echo could not be reached"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rt := grpcRoute(grpcNode(down))
			if !tt.route {
				rt = nil
			}
			r := grpcRequest(limited(t), t, serveRelay(t, rt, nil, nil), tt.contentType, strings.NewReader(""))
			r.Method = tt.method
			if tt.header != "" {
				r.Header.Set("Grpc-Timeout", tt.header)
			}
			rsp, err := plainClient(t).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer rsp.Body.Close()
			if got := rsp.Header.Get("Grpc-Status") + " " + rsp.Header.Get("Grpc-Message"); got != tt.want || rsp.StatusCode != http.StatusOK {
				t.Errorf("status = %d, %s; want 200, %s", rsp.StatusCode, got, tt.want)
			}
		})
	}
	t.Run("over HTTP/1.1", func(t *testing.T) {
		address := serveRelay(t, grpcRoute(grpcNode(down)), nil, nil)
		got := exchange(t, address, "POST /echo.Echo/Call HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 505 ") {
			t.Errorf("answer = %q, want 505", got)
		}
	})
	for name, want := range map[string]string{
		"no nodes":                     "Unavailable: service echo has no node that can serve",
		"nodes of another protocol":    "Unimplemented: service echo has no node that speaks gRPC",
		"a node of another among them": "",
	} {
		t.Run(name, func(t *testing.T) {
			rt := grpcRoute()
			switch name {
			case "nodes of another protocol":
				rt = grpcRoute(mucp)
			case "a node of another among them":
				rt = grpcRoute(mucp, grpcService(echoMessagesOfGRPC).start(t))
			}
			conn := connect(t, serveRelay(t, rt, nil, nil))
			for range 10 {
				if _, err := invoke(limited(t), conn, "hello"); (err != nil || want != "") && text(err) != want {
					t.Fatalf("status = %s, want %s", text(err), want)
				}
			}
			for _, n := range rt.Upstream.Nodes() {
				if n.Failures != 0 {
					t.Errorf("%d failures are held against %s, want none", n.Failures, n.Node.ID)
				}
			}
		})
	}
}

// TestGRPCHashBy has calls that belong to nodes by a key, of a service half of
// whose nodes speak another protocol.
func TestGRPCHashBy(t *testing.T) {
	rt := grpcRoute()
	var nodes []*registry.Node
	for i := range 4 {
		n := grpcService(func(s grpc.ServerStream) error {
			if _, err := recv(s); err != nil {
				return err
			}
			return s.SendMsg(fmt.Append(nil, i))
		}).start(t)
		if i%2 == 1 {
			n.Metadata["protocol"] = "mucp"
		}
		nodes = append(nodes, n)
	}
	rt.Upstream = nodesOf(nodes...)
	rt.Policy = &goapi.Policy{Upstream: upstream.Policy{HashBy: "header:X-User"}}
	conn := connect(t, serveRelay(t, rt, nil, nil))
	first := make(map[string]string)
	for i := range 80 {
		user := fmt.Sprint(i % 40)
		got, err := invoke(metadata.AppendToOutgoingContext(limited(t), "x-user", user), conn, "hello")
		if err != nil || got != "0" && got != "2" {
			t.Fatalf("call of user %s = %q, %v; want it served by a node of gRPC", user, got, err)
		}
		if before, ok := first[user]; ok && before != got {
			t.Errorf("calls of user %s went to %s and %s, want one node", user, before, got)
		}
		first[user] = got
	}
}

// TestGRPCRefusesOtherTypes has types that only begin like gRPC's.
func TestGRPCRefusesOtherTypes(t *testing.T) {
	down := killed(t)
	for name, h := range map[string]http.Handler{"GRPC": handler.GRPC(nil), "RPC": handler.RPC(nil, &handler.RPCOptions{GRPC: handler.GRPC(nil)})} {
		for _, kind := range []string{"application/grpcish", "application/grpc-website"} {
			rsp, err := plainClient(t).Do(grpcRequest(limited(t), t, serveHandler(t, grpcRoute(grpcNode(down)), h), kind, strings.NewReader("")))
			if err != nil {
				t.Fatal(err)
			}
			rsp.Body.Close()
			if got := rsp.Header.Get("Content-Type"); rsp.StatusCode != http.StatusUnsupportedMediaType || got != "application/json" {
				t.Errorf("%s: answer to %s = %d, %s; want 415 in JSON", name, kind, rsp.StatusCode, got)
			}
		}
	}
}

// TestGRPCThroughRPC has the handler behind the one that endpoints name.
func TestGRPCThroughRPC(t *testing.T) {
	node := grpcService(echoMessagesOfGRPC).start(t)
	relay := handler.GRPC(nil)
	defer relay.(io.Closer).Close()
	conn := connect(t, serveHandler(t, grpcRoute(node), handler.RPC(nil, &handler.RPCOptions{GRPC: relay})))
	if got, err := invoke(limited(t), conn, "hello"); got != "hello" || err != nil {
		t.Errorf("answer = %q, %v; want hello", got, err)
	}
}

func BenchmarkGRPC(b *testing.B) {
	node := grpcService(echoMessagesOfGRPC).start(b)
	for name, address := range map[string]string{"direct": node.Address, "relayed": serveRelay(b, grpcRoute(node), nil, nil)} {
		b.Run(name, func(b *testing.B) {
			conn := connect(b, address)
			msg := strings.Repeat("x", 1<<10)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := invoke(ctx, conn, msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
