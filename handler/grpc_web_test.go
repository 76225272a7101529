package handler_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/goapi-dev/goapi/registry"
)

// webClients are a browser's ways to speak to the gateway.
func webClients(t testing.TB) map[string]*http.Client {
	t.Helper()
	tr := new(http.Transport)
	t.Cleanup(tr.CloseIdleConnections)
	return map[string]*http.Client{"HTTP/1.1": {Transport: tr}, "HTTP/2": plainClient(t)}
}

// webReader reads the frames of an answer.
type webReader struct{ io.Reader }

// next returns a frame: a message, or the trailers.
func (r webReader) next() (flag byte, payload string, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, "", err
	}
	b := make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err = io.ReadFull(r, b)
	return head[0], string(b), err
}

// textReader decodes an answer in base64, piece by piece.
type textReader struct {
	src  io.Reader
	rest []byte
}

func (r *textReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		var group [4]byte
		if _, err := io.ReadFull(r.src, group[:]); err != nil {
			return 0, err
		}
		b, err := base64.StdEncoding.DecodeString(string(group[:]))
		if err != nil {
			return 0, err
		}
		r.rest = b
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func TestGRPCWeb(t *testing.T) {
	node := grpcService(func(s grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(s.Context())
		if got := md["content-type"]; !slices.Equal(got, []string{"application/grpc+json"}) {
			t.Errorf("content-type = %q, want application/grpc+json", got)
		}
		msg, err := recv(s)
		if err != nil {
			return err
		}
		if msg == "fail" {
			s.SetTrailer(metadata.Pairs("after", "c"))
			return status.Error(codes.Internal, "100 % ☺")
		}
		_ = s.SetHeader(metadata.Pairs("before", "a"))
		s.SetTrailer(metadata.Pairs("after", "c", "after", "d", "after-bin", "\xff"))
		_ = s.SendMsg([]byte(msg))
		return s.SendMsg([]byte("again"))
	}).start(t)
	address := serveRelay(t, grpcRoute(node), nil, nil)
	tests := []struct {
		name, msg string
		want      []string
	}{
		{"answers", "hello", []string{"0 hello", "0 again", "128 after: c\r\nafter: d\r\nafter-bin: /w\r\ngrpc-status: 0\r\n"}},
		{"a long message", strings.Repeat("x", 100<<10), []string{"0 " + strings.Repeat("x", 100<<10), "0 again", "128 after: c\r\nafter: d\r\nafter-bin: /w\r\ngrpc-status: 0\r\n"}},
		{"nothing but a status", "fail", []string{"128 after: c\r\ngrpc-message: 100 %25 %E2%98%BA\r\ngrpc-status: 13\r\n"}},
	}
	for proto, client := range webClients(t) {
		for _, text := range []bool{false, true} {
			for _, tt := range tests {
				t.Run(fmt.Sprintf("%s, text %t, %s", proto, text, tt.name), func(t *testing.T) {
					body, kind := frameOf(tt.msg), "application/grpc-web+json"
					if text {
						body, kind = base64.StdEncoding.AppendEncode(nil, body), "application/grpc-web-text+json"
					}
					rsp, err := client.Do(grpcRequest(limited(t), t, address, kind, bytes.NewReader(body)))
					if err != nil {
						t.Fatal(err)
					}
					defer rsp.Body.Close()
					if got := rsp.Header.Get("Content-Type"); got != kind || rsp.Proto[:6] != proto[:6] {
						t.Errorf("Content-Type over %s = %q, want %q over %s", rsp.Proto, got, kind, proto)
					}
					if tt.msg != "fail" && rsp.Header.Get("Before") != "a" {
						t.Errorf("header = %v, want the service's", rsp.Header)
					}
					r := webReader{rsp.Body}
					if text {
						r = webReader{&textReader{src: rsp.Body}}
					}
					var got []string
					for {
						flag, payload, err := r.next()
						if errors.Is(err, io.EOF) {
							break
						}
						if err != nil {
							t.Fatal(err)
						}
						payload = strings.Replace(payload, "grpc-message: \r\n", "", 1) // which says nothing
						got = append(got, fmt.Sprintf("%d %s", flag, payload))
					}
					if !slices.Equal(got, tt.want) {
						t.Errorf("frames = %.200q, want %.200q", got, tt.want)
					}
				})
			}
		}
	}
}

// TestGRPCWebStreams wants each message when the service sends it.
func TestGRPCWebStreams(t *testing.T) {
	for proto, client := range webClients(t) {
		for _, text := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, text %t", proto, text), func(t *testing.T) {
				next := make(chan struct{}, 1)
				node := grpcService(func(s grpc.ServerStream) error {
					for i := range 5 {
						<-next
						if err := s.SendMsg([]byte(strings.Repeat("x", i))); err != nil {
							return err
						}
					}
					return nil
				}).start(t)
				body, kind := frameOf("go"), "application/grpc-web"
				if text {
					body, kind = base64.StdEncoding.AppendEncode(nil, body), "application/grpc-web-text"
				}
				next <- struct{}{}
				rsp, err := client.Do(grpcRequest(limited(t), t, serveRelay(t, grpcRoute(node), nil, nil), kind+"+json", bytes.NewReader(body)))
				if err != nil {
					t.Fatal(err)
				}
				defer rsp.Body.Close()
				r := webReader{rsp.Body}
				if text {
					r = webReader{&textReader{src: rsp.Body}}
				}
				for i := range 5 {
					if _, got, err := r.next(); got != strings.Repeat("x", i) || err != nil {
						t.Fatalf("message %d = %q, %v; want it before the next is sent", i, got, err)
					}
					next <- struct{}{}
				}
				if flag, got, err := r.next(); flag != 0x80 || !strings.Contains(got, "grpc-status: 0") || err != nil {
					t.Errorf("last frame = %d %q, %v; want the trailers", flag, got, err)
				}
			})
		}
	}
}

// TestGRPCWebUnderscores has names with an underscore that are for one hop, and
// such as are another way to write a name that is the gateway's, or there already.
func TestGRPCWebUnderscores(t *testing.T) {
	seen := make(chan metadata.MD, 1)
	node := grpcService(func(s grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(s.Context())
		seen <- md
		return nil
	}).start(t)
	body := string(frameOf("hi"))
	exchange(t, serveRelay(t, grpcRoute(node), nil, nil), "POST /echo.Echo/Call HTTP/1.1\r\nHost: a\r\n"+
		"Content-Type: application/grpc-web+proto\r\nContent-Length: 7\r\nConnection: close, x_hop, via\r\n"+
		"X_hop: 1\r\ngrpc_timeout: 1n\r\ncontent_length: 9\r\ncontent_type: a\r\nuser_agent: me\r\nx-user: a\r\nx_user: b\r\nunder_score: c\r\n\r\n"+body)
	got := receives(t, seen, "the call")
	for name, want := range map[string]string{
		"x_hop": "", "grpc_timeout": "", "content_length": "", "content_type": "", "user_agent": "",
		"x-user": "a", "x_user": "", "under_score": "c", "via": "1.1 goapi",
	} {
		if v := strings.Join(got[name], ", "); v != want {
			t.Errorf("the service saw %s %q, want %q", name, v, want)
		}
	}
}

// TestGRPCWebErrors wants the gateway's own errors where a browser's script can
// read them.
func TestGRPCWebErrors(t *testing.T) {
	down := grpcNode(killed(t))
	broken := frameNode(t, func(c *frameConn, id uint32) {
		c.head(id)
		_ = c.WriteData(id, false, frameOf("one"))
		c.conn.Close()
	})
	// The head of the answer may be lost with the connection.
	const broke = "grpc-message: service echo broke off the stream\r\ngrpc-status: 14\r\n|" +
		"grpc-status: 14\r\ngrpc-message: service echo broke off before it answered\r\n"
	tests := []struct {
		name, kind, body string
		node             *registry.Node
		want             string // in the last frame
	}{
		{"a node that is down", "application/grpc-web", "", down, "grpc-status: 14\r\ngrpc-message: service echo could not be reached\r\n"},
		{"a node that is down, text", "application/grpc-web-text", "", down, "grpc-status: 14\r\ngrpc-message: service echo could not be reached\r\n"},
		{"a node that breaks off", "application/grpc-web+json", string(frameOf("x")), broken, broke},
		{"a node that breaks off, text", "application/grpc-web-text+json", "AAAAAAF4", broken, broke},
		{"text that is none", "application/grpc-web-text", "AAA*AAF4", grpcService(echoMessagesOfGRPC).start(t), "grpc-status: 3\r\ngrpc-message: the body broke off or is malformed\r\n"},
	}
	for proto, client := range webClients(t) {
		for _, tt := range tests {
			t.Run(proto+", "+tt.name, func(t *testing.T) {
				rsp, err := client.Do(grpcRequest(limited(t), t, serveRelay(t, grpcRoute(tt.node), nil, nil), tt.kind, strings.NewReader(tt.body)))
				if err != nil {
					t.Fatal(err)
				}
				defer rsp.Body.Close()
				r := webReader{rsp.Body}
				if strings.Contains(tt.kind, "text") {
					r = webReader{&textReader{src: rsp.Body}}
				}
				var last string
				for {
					flag, payload, err := r.next()
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					last = fmt.Sprintf("%d %s", flag, payload)
				}
				if text, ok := strings.CutPrefix(last, "128 "); !ok || !anyOf(text, tt.want) || rsp.StatusCode != http.StatusOK {
					t.Errorf("last frame of %d = %q, want 128 %q of 200", rsp.StatusCode, last, tt.want)
				}
			})
		}
	}
}

// TestGRPCWebEndsEarly has a service that answers before a client of HTTP/1.1 has
// sent all: the client must get to the answer.
func TestGRPCWebEndsEarly(t *testing.T) {
	node := grpcService(func(grpc.ServerStream) error { return status.Error(codes.ResourceExhausted, "too much") }).start(t)
	address := serveRelay(t, grpcRoute(node), nil, nil)
	for range 20 { // it is a race
		rsp, err := webClients(t)["HTTP/1.1"].Do(grpcRequest(limited(t), t, address, "application/grpc-web+json",
			io.LimitReader(zeros{}, 4<<20)))
		if err != nil {
			t.Fatal(err)
		}
		flag, payload, err := webReader{rsp.Body}.next()
		rsp.Body.Close()
		if flag != 0x80 || !strings.Contains(payload, "grpc-status: 8") || err != nil {
			t.Fatalf("answer = %d %q, %v; want status 8", flag, payload, err)
		}
	}
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
