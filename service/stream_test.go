package service_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/apipb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/service"
)

type greetings = service.Stream[helloRequest, helloResponse]

// chat greets everybody, in the way that it is asked to.
func chat(ctx context.Context, s *greetings) error {
	for {
		req, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.Send(&helloResponse{Message: "bye"})
		}
		if err != nil {
			return err
		}
		if req.Name == "metadata" {
			req.Name = service.Header(ctx).Get("X-Tenant")
		}
		if req.Name == "nil" {
			if err := s.Send(nil); err != nil {
				return err
			}
			continue
		}
		if res, err := fail(ctx, req); res != nil || err != nil {
			return err
		}
		if err := s.Send(&helloResponse{Message: "hello " + req.Name}); err != nil {
			return err
		}
	}
}

// count sends as many numbers as it is asked for, as the services that were
// recorded do.
func count(_ context.Context, s *service.Stream[wrapperspb.Int64Value, wrapperspb.Int64Value]) error {
	n, err := s.Recv()
	if err != nil {
		return err
	}
	for i := range n.GetValue() {
		if err := s.Send(wrapperspb.Int64(i)); err != nil {
			return err
		}
	}
	return nil
}

// newChat returns a service with streams, on a server.
func newChat(t testing.TB, opts *service.Options) *registry.Node {
	t.Helper()
	s := service.New("greeter", opts)
	s.Handle("Greeter.Hello", service.Method(hello), nil)
	s.Handle("Greeter.Chat", service.StreamMethod(chat), nil)
	s.Handle("Greeter.PingPong", service.StreamMethod(pingPong), nil)
	s.Handle("Greeter.Count", service.StreamMethod(count), nil)
	s.Handle("Greeter.Mixins", service.StreamMethod(func(_ context.Context, s *service.Stream[apipb.Mixin, apipb.Mixin]) error {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		return s.Send(&apipb.Mixin{Name: "hello " + m.GetName()})
	}), nil)
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return &registry.Node{ID: "greeter-1", Address: srv.Listener.Addr().String()}
}

// open opens a stream as the gateway does.
func open(t testing.TB, n *registry.Node, endpoint, contentType string) client.Stream {
	t.Helper()
	m := client.NewMicro(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	s, err := m.Stream(ctx, n, &client.Request{
		Service: "greeter", Endpoint: endpoint, ContentType: contentType, Header: map[string]string{"X-Tenant": "a"},
	})
	if err != nil {
		t.Fatalf("Stream error = %v", err)
	}
	t.Cleanup(func() {
		cancel()
		_ = s.Close() // says nothing
	})
	return s
}

// talk sends messages and then reads to the end.
func talk(t *testing.T, s client.Stream, messages ...string) ([]string, error) {
	t.Helper()
	for _, msg := range messages {
		if err := s.Send([]byte(msg)); err != nil {
			break // Recv tells why
		}
	}
	if err := s.CloseSend(); err != nil && !errors.Is(err, client.ErrStreamOver) {
		t.Errorf("CloseSend error = %v", err)
	}
	var answers []string
	for {
		msg, err := s.Recv()
		if err != nil {
			return answers, err
		}
		answers = append(answers, strings.TrimSpace(string(msg)))
	}
}

func TestStreams(t *testing.T) {
	n := newChat(t, nil)
	tests := []struct {
		name, endpoint, contentType string
		send, want                  []string
	}{
		{"json", "Greeter.Chat", "application/json", []string{`{"name":"john"}`, `{"name":"jane"}`}, []string{`{"message":"hello john"}`, `{"message":"hello jane"}`, `{"message":"bye"}`}},
		{"nothing", "Greeter.Chat", "application/json", nil, []string{`{"message":"bye"}`}},
		{"metadata", "Greeter.Chat", "application/json", []string{`{"name":"metadata"}`}, []string{`{"message":"hello a"}`, `{"message":"bye"}`}},
		{"nil answer", "Greeter.Chat", "application/json", []string{`{"name":"nil"}`}, []string{`{"message":""}`, `{"message":"bye"}`}},
		{"json-rpc", "Greeter.Chat", "application/json-rpc", []string{`{"name":"john"}`}, []string{`{"message":"hello john"}`, `{"message":"bye"}`}},
		{"service streams", "Greeter.Count", "application/json", []string{`"3"`}, []string{`"0"`, `"1"`, `"2"`}},
		{"protobuf", "Greeter.Mixins", "application/protobuf", []string{"\n\x04john"}, []string{"hello john"}},
		{"proto-rpc", "Greeter.Mixins", "application/proto-rpc", []string{"\n\x04john"}, []string{"hello john"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := talk(t, open(t, n, tt.endpoint, tt.contentType), tt.send...)
			if diff := cmp.Diff(tt.want, got); diff != "" || !errors.Is(err, io.EOF) {
				t.Errorf("the answers end with %v, (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestStreamErrors(t *testing.T) {
	n := newChat(t, &service.Options{MaxRequest: 1024})
	tests := []struct {
		name, endpoint, contentType, message string
		want                                 goapi.Error
	}{
		{"own", "Greeter.Chat", "application/json", `{"name":"teapot"}`, goapi.Error{Code: 418, ID: "teapot", Detail: "short\nand stout"}},
		{"without id", "Greeter.Chat", "application/json", `{"name":"nobody"}`, goapi.Error{Code: 404, ID: "greeter", Detail: "nobody"}},
		{"of NewError", "Greeter.Chat", "application/json", `{"name":"late"}`, goapi.Error{Code: 409, ID: "greeter", Detail: "too late"}},
		{"plain", "Greeter.Chat", "application/json", `{"name":"plain"}`, goapi.Error{Code: 500, ID: "greeter", Detail: "a plain  error"}},
		{"json-rpc", "Greeter.Chat", "application/json-rpc", `{"name":"teapot"}`, goapi.Error{Code: 418, ID: "teapot", Detail: "short\nand stout"}},
		{"panic", "Greeter.Chat", "application/json", `{"name":"panic"}`, goapi.Error{Code: 500, ID: "greeter", Detail: "the method failed"}},
		{"too large", "Greeter.Chat", "application/json", `{"name":"` + strings.Repeat("a", 8<<20) + `"}`, goapi.Error{Code: 413, ID: "greeter", Detail: "a message is larger than 1024 bytes"}},
		{"json for protobuf", "Greeter.Chat", "application/protobuf", "\n\x01a", goapi.Error{Code: 415, ID: "greeter", Detail: "this method takes JSON only; send application/json"}},
		{"unknown method", "Greeter.Nope", "application/json", "{}", goapi.Error{Code: 404, ID: "greeter", Detail: "rpc: can't find method Nope"}},
		{"no stream", "Greeter.Hello", "application/json", "{}", goapi.Error{Code: 501, ID: "greeter", Detail: "Greeter.Hello is no stream; call it"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := talk(t, open(t, n, tt.endpoint, tt.contentType), tt.message)
			var got *goapi.Error
			if !errors.As(err, &got) || got.Code != tt.want.Code || got.ID != tt.want.ID || got.Detail != tt.want.Detail {
				t.Errorf("Recv error = %v, want %v", err, &tt.want)
			}
		})
	}
	t.Run("undecodable", func(t *testing.T) {
		_, err := talk(t, open(t, n, "Greeter.Chat", "application/json"), "not json")
		if got := goapi.Status(err); got != http.StatusBadRequest {
			t.Errorf("Recv error = %v (%d), want 400", err, got)
		}
	})
	t.Run("called", func(t *testing.T) {
		_, err := call(t, n, "Greeter.Chat", "application/json", "{}")
		if got := goapi.Status(err); got != http.StatusNotImplemented {
			t.Errorf("Call of a stream error = %v (%d), want 501", err, got)
		}
	})
}

// What is sent on the connection of a stream is a message, or ends the stream
// with an error that is told.
func TestStreamRefuses(t *testing.T) {
	const opening = "POST / HTTP/1.1\r\nHost: a\r\nMicro-Endpoint: Greeter.Chat\r\nMicro-Id: 1\r\nMicro-Stream: 1\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"
	tests := []struct {
		name, after string
		want        int
	}{
		{"garbage", "garbage\r\n\r\n", 400},
		{"endless header", "POST / HTTP/1.1\r\nX-A: " + strings.Repeat("a", 1<<20), 431},
		{"endless body", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n80000\r\n" + strings.Repeat("a", 0x80000), 413},
		{"bad chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400},
	}
	n := newChat(t, &service.Options{MaxRequest: 1024})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := dial(t, n)
			if _, err := io.WriteString(conn, opening+tt.after); err != nil {
				t.Fatalf("Write error = %v", err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("ReadResponse error = %v", err)
			}
			defer res.Body.Close()
			if got := res.Header.Get("Micro-Error"); !strings.Contains(got, fmt.Sprintf(`"code":%d`, tt.want)) {
				t.Errorf("Micro-Error = %s, want %d", got, tt.want)
			}
		})
	}
}

// dial connects to a node.
func dial(t *testing.T, n *registry.Node) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", n.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // of a new connection
	return conn
}

// A stroke is what the service that was recorded plays with.
type stroke struct {
	Stroke string `json:"stroke"`
}

func pingPong(_ context.Context, s *service.Stream[stroke, stroke]) error {
	for {
		req, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && req.Stroke == "13" {
			err = &goapi.Error{Code: 400, ID: "greeter.pingpong", Detail: "unlucky"}
		}
		if err != nil {
			return err
		}
		if err := s.Send(req); err != nil {
			return err
		}
	}
}

// Clients of go-micro, as they were recorded, hear what they expect.
func TestStreamsOfRecordedClients(t *testing.T) {
	tests := []struct {
		capture, id string
		want        []string // bodies
		end         string
	}{
		{"v6-pingpong-json.txt", "0", []string{`{"stroke":"1"}` + "\n", `{"stroke":"2"}` + "\n"}, `{"id":"greeter.pingpong","code":400,"detail":"unlucky","status":"Bad Request"}`},
		{"v118-stream-protobuf.txt", "0", []string{"", "\b\x01", "\b\x02"}, "EOS"},
	}
	n := newChat(t, nil)
	for _, tt := range tests {
		t.Run(tt.capture, func(t *testing.T) {
			conn := dial(t, n)
			if _, err := conn.Write(clientSide(t, tt.capture)); err != nil {
				t.Fatalf("Write error = %v", err)
			}
			in := bufio.NewReader(conn)
			for _, want := range append(tt.want, "") {
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatalf("ReadResponse error = %v", err)
				}
				body, err := io.ReadAll(res.Body)
				if err != nil || string(body) != want {
					t.Errorf("body = %q, %v, want %q", body, err, want)
				}
				if id, stream := res.Header.Get("Micro-Id"), res.Header.Get("Micro-Stream"); id != tt.id || stream != tt.id {
					t.Errorf("Micro-Id = %q, Micro-Stream = %q, want %q", id, stream, tt.id)
				}
				if got := res.Header.Get("Micro-Error"); got != "" && got != tt.end {
					t.Errorf("Micro-Error = %q, want %q", got, tt.end)
				}
			}
			if b, err := io.ReadAll(in); err != nil || len(b) > 0 {
				t.Errorf("after the end came %q, %v, want nothing", b, err)
			}
		})
	}
}

// clientSide returns what the client of a recording wrote.
func clientSide(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for {
		_, after, ok := bytes.Cut(b, []byte("\n===== conn "))
		if !ok {
			return all
		}
		line, rest, _ := bytes.Cut(after, []byte("\n"))
		var (
			conn, size int
			dir        string
		)
		if _, err := fmt.Sscanf(strings.Replace(string(line), "EOF ", "", 1), "%d %s %d bytes", &conn, &dir, &size); err != nil {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		if dir == "C>S" {
			all = append(all, rest[:size]...)
		}
		b = rest[size:]
	}
}

// runStream runs a service with a stream until stop is called, which returns what Run
// does.
func runStream(t *testing.T, f service.Func, drain time.Duration) (n *registry.Node, stop func() error) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := service.New("greeter", &service.Options{Listener: ln, Drain: drain})
	s.Handle("Greeter.Chat", f, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }() // ends with stop
	return &registry.Node{ID: "greeter-1", Address: ln.Addr().String()}, func() error {
		cancel()
		return <-done
	}
}

// A service that stops tells its streams, which may say goodbye.
func TestStopEndsStreams(t *testing.T) {
	n, stop := runStream(t, service.StreamMethod(func(ctx context.Context, s *greetings) error {
		if err := s.Send(&helloResponse{Message: "hello"}); err != nil {
			return err
		}
		<-ctx.Done()
		return s.Send(&helloResponse{Message: "bye"})
	}), 10*time.Second)
	s := open(t, n, "Greeter.Chat", "application/json")
	if _, err := s.Recv(); err != nil {
		t.Fatalf("Recv error = %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- stop() }()
	if msg, err := s.Recv(); err != nil || string(msg) != `{"message":"bye"}`+"\n" {
		t.Errorf("Recv = %q, %v, want a goodbye", msg, err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("Recv error = %v, want %v", err, io.EOF)
	}
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// One that only waits for its caller ends with 503, so that the caller opens
// another elsewhere.
func TestStopEndsWaitingStreams(t *testing.T) {
	n, stop := runStream(t, service.StreamMethod(chat), 10*time.Second)
	s := open(t, n, "Greeter.Chat", "application/json")
	if err := s.Send([]byte("{}")); err != nil {
		t.Errorf("Send error = %v", err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatalf("Recv error = %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- stop() }()
	if _, err := s.Recv(); goapi.Status(err) != http.StatusServiceUnavailable {
		t.Errorf("Recv error = %v, want 503", err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// One that does not listen is cut off.
func TestStopCutsStreamsOff(t *testing.T) {
	arrived, leave := make(chan struct{}), make(chan struct{})
	n, stop := runStream(t, service.StreamMethod(func(_ context.Context, _ *greetings) error {
		close(arrived)
		<-leave
		return nil
	}), 50*time.Millisecond)
	s := open(t, n, "Greeter.Chat", "application/json")
	<-arrived
	if err := stop(); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("Run = %v, want that calls were cut off", err)
	}
	_, err := s.Recv()
	if known := new(goapi.Error); err == nil || errors.Is(err, io.EOF) || errors.As(err, &known) {
		t.Errorf("Recv error = %v, want that the stream broke off", err)
	}
	close(leave)
}

func TestStreamsAreAnnounced(t *testing.T) {
	reg := new(registry.Memory)
	s := service.New("greeter", &service.Options{Registry: reg})
	s.Handle("Greeter.Chat", service.StreamMethod(chat), nil)
	s.Handle("Greeter.Feed", service.StreamMethod(chat), &goapi.Endpoint{Method: []string{"GET"}, Path: []string{"/feed"}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	find(reg, "greeter")
	services, err := reg.Get(t.Context(), "greeter")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range services[0].Endpoints {
		if e.Metadata["stream"] != "true" || e.Request.Type != "helloRequest" || e.Response.Type != "helloResponse" {
			t.Errorf("%s is announced with %v, %v, %v, want a stream and its types", e.Name, e.Metadata, e.Request, e.Response)
		}
		if _, routed := e.Metadata["path"]; routed != (e.Name == "Greeter.Feed") {
			t.Errorf("%s is announced with the path %q", e.Name, e.Metadata["path"])
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
}

func BenchmarkStream(b *testing.B) {
	s := open(b, newChat(b, nil), "Greeter.PingPong", "application/json")
	msg := []byte(`{"stroke":"1"}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Send(msg); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			b.Fatal(err)
		}
	}
}
