package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
)

// Streams as go-micro's own clients had them: ours sends the same, but for the
// first message, which services do not read, and reads what was recorded. What
// the services of v4 and v6 overwrote is overwritten.
func TestMicroStreamsAsRecorded(t *testing.T) {
	unlucky := &goapi.Error{Code: 400, ID: "greeter.pingpong", Detail: "unlucky"}
	tests := []struct {
		capture, contentType string
		send, want           []string
		err                  error // nil is silence
	}{
		{"rpc-v6/count-json.txt", "application/json", []string{`{"count":"3"}` + "\n"}, []string{"{}\n", `{"count":"2"}` + "\n", `{"count":"2"}` + "\n"}, io.EOF},
		{"rpc-v6/pingpong-json.txt", "application/json", []string{`{"stroke":"1"}` + "\n", `{"stroke":"2"}` + "\n", `{"stroke":"13"}` + "\n"}, []string{`{"stroke":"1"}` + "\n", `{"stroke":"2"}` + "\n"}, unlucky},
		{"rpc-v6/stream-json.txt", "application/json", []string{`{"count":"3"}` + "\n"}, []string{"{}\n", `{"count":"1"}` + "\n", `{"count":"2"}` + "\n"}, nil},
		{"rpc-v6/stream-protobuf.txt", "application/protobuf", []string{"\b\x03"}, []string{"", "\b\x01", "\b\x02"}, nil},
		{"v4/stream-json.txt", "application/json", []string{`{"count":3}` + "\n"}, []string{"{}\n", `{"count":2}` + "\n", `{"count":2}` + "\n"}, io.EOF},
		{"v2/stream-json.txt", "application/json", []string{`{"count":3}` + "\n"}, []string{"{}\n", `{"count":1}` + "\n", `{"count":2}` + "\n"}, io.EOF},
		{"v2/stream-default.txt", "application/protobuf", []string{"\b\x03"}, []string{"", "\b\x01", "\b\x02"}, nil},
		{"v118/stream-protobuf.txt", "application/protobuf", []string{"\b\x03"}, []string{"", "\b\x01", "\b\x02"}, io.EOF},
	}
	for _, tt := range tests {
		t.Run(tt.capture, func(t *testing.T) {
			chunks := readCapture(t, tt.capture)[0]
			theirs, theirBodies := parseRequests(chunks)
			server := serveCapture(t, chunks)
			m := client.NewMicro(&client.Options{StreamIdle: 50 * time.Millisecond})
			defer m.Close()
			s, err := m.Stream(t.Context(), server.node, &client.Request{
				Service: theirs[0].Header.Get("Micro-Service"), Endpoint: theirs[0].Header.Get("Micro-Endpoint"), ContentType: tt.contentType,
			})
			if err != nil {
				t.Fatalf("Stream error = %v", err)
			}
			defer s.Close()
			for _, msg := range tt.send {
				if err := s.Send([]byte(msg)); err != nil {
					t.Fatalf("Send error = %v", err)
				}
			}
			for _, want := range tt.want {
				if got, err := s.Recv(); err != nil || string(got) != want {
					t.Fatalf("Recv = %q, %v, want %q", got, err, want)
				}
			}
			compareEnd(t, s, tt.err)

			requests, bodies := server.seen()
			for i, r := range requests[:min(len(requests), 1+len(tt.send))] {
				compareHeaders(t, r.Header, theirs[i].Header)
				if want := theirBodies[i]; i > 0 && bodies[i] != want {
					t.Errorf("body %d = %q, want %q", i, bodies[i], want)
				}
			}
			if got := len(requests); got < 1+len(tt.send) {
				t.Errorf("the service got %d requests, want %d", got, 1+len(tt.send))
			}
		})
	}
}

// compareEnd checks how a stream ends. One that is silent ends after CloseSend.
func compareEnd(t *testing.T, s client.Stream, want error) {
	t.Helper()
	if want == nil {
		if err := s.CloseSend(); err != nil {
			t.Errorf("CloseSend error = %v", err)
		}
		want = io.EOF
	}
	msg, err := s.Recv()
	if _, known := errors.AsType[*goapi.Error](want); known {
		if diff := cmp.Diff(want, err); diff != "" {
			t.Errorf("Recv error (-want +got):\n%s", diff)
		}
		return
	}
	if !errors.Is(err, want) {
		t.Errorf("Recv = %q, %v, want %v", msg, err, want)
	}
}

// A stream that was recorded without a client of go-micro: after our EOS the
// service says nothing more, and leaves the connection open. What ends our side
// is what theirs was seen to send.
func TestMicroCloseSendAsRecorded(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\nMicro-Id: 7\r\nMicro-Stream: 7\r\n\r\n"
	server := serveCapture(t, []chunk{
		{toServer: true}, {data: []byte(ok + `{"stroke":"5"}` + "\n" + ok + `{"stroke":"6"}` + "\n")},
	})
	m := client.NewMicro(&client.Options{StreamIdle: 50 * time.Millisecond})
	defer m.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := m.Stream(ctx, server.node, &client.Request{
		Service: "greeter", Endpoint: "Greeter.PingPong", ContentType: "application/json",
		Header: map[string]string{"X-Tenant": "a"},
	})
	if err != nil {
		t.Fatalf("Stream error = %v", err)
	}
	defer s.Close()
	for _, want := range []string{`{"stroke":"5"}`, `{"stroke":"6"}`} {
		if got, err := s.Recv(); err != nil || string(got) != want+"\n" {
			t.Fatalf("Recv = %q, %v, want %s", got, err, want)
		}
	}
	compareEnd(t, s, nil)

	theirs, _ := parseRequests(readCapture(t, "rpc-v6/pingpong-json.txt")[0])
	ours, bodies := server.seen()
	if len(ours) != 2 {
		t.Fatalf("the service got %d requests, want 2", len(ours))
	}
	compareHeaders(t, ours[1].Header, theirs[len(theirs)-1].Header)
	if got := ours[1].Header.Get("Micro-Error"); got != "EOS" || bodies[1] != "" {
		t.Errorf("the last message is %q with Micro-Error = %q, want EOS alone", bodies[1], got)
	}
	if opening := ours[0].Header; opening.Get("X-Tenant") != "a" || opening.Get("Timeout") == "" {
		t.Errorf("the first message has X-Tenant = %q, Timeout = %q, want both", opening.Get("X-Tenant"), opening.Get("Timeout"))
	}
	if last := ours[1].Header; last.Get("X-Tenant") != "" || last.Get("Timeout") != "" {
		t.Errorf("the last message has X-Tenant = %q, Timeout = %q, want neither", last.Get("X-Tenant"), last.Get("Timeout"))
	}
}

// Whatever a service writes is a message, an end, or an error.
func TestMicroStreamReads(t *testing.T) {
	const (
		head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
		one  = head + "Content-Length: 2\r\n\r\n{}"
		end  = head + "Micro-Error: EOS\r\nContent-Length: 0\r\n\r\n"
	)
	tests := []struct {
		name, answer string
		messages     int
		status       int // of a *goapi.Error
		end          bool
	}{
		{"message and end", one + end, 1, 0, true},
		{"old header of the end", one + head + "X-Micro-Error: EOS\r\nContent-Length: 0\r\n\r\n", 1, 0, true},
		{"end with another content type", "HTTP/1.1 200 OK\r\nMicro-Error: EOS\r\nContent-Length: 0\r\n\r\n", 0, 0, true},
		{"message after the end", end + one, 0, 0, true},
		{"chunked", head + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n" + one + end, 2, 0, true},
		{"error", one + head + "Micro-Error: {\"id\":\"a\",\"code\":418,\"detail\":\"d\"}\r\nContent-Length: 0\r\n\r\n", 1, 418, false},
		{"status", one + "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", 1, 502, false},
		{"other content type", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 27\r\n\r\nunsupported Content-Type: x", 0, 502, false},
		{"message without a length", head + "\r\n{}", 0, 502, false},
		{"huge length", head + "Content-Length: 4611686018427387904\r\n\r\n" + strings.Repeat("x", 4096), 0, 502, false},
		{"cut in a message", one + head + "Content-Length: 200\r\n\r\n{}", 1, 0, false},
		{"cut in a chunk", one + head + "Transfer-Encoding: chunked\r\n\r\nff\r\n{}", 1, 0, false},
		{"cut in a header", one + head[:30], 1, 0, false},
		{"cut between messages", one, 1, 0, false},
		{"two lengths", head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 0, 0, false},
		{"bad chunk", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 0, 0, false},
		{"garbage", "\x00\x01\x02\r\n\r\n", 0, 0, false},
		{"garbage after a message", one + "garbage", 1, 0, false},
		{"endless header", one + head + "X-Echo: " + strings.Repeat("a", 12<<20) + "\r\n\r\n", 1, 0, false},
		{"endless headers", one + head + strings.Repeat("X-Echo: a\r\n", 1<<20), 1, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openBytes(t, tt.answer, &client.Options{MaxReply: 2048})
			for range tt.messages {
				if got, err := s.Recv(); err != nil || string(got) != "{}" {
					t.Fatalf("Recv = %q, %v, want {}", got, err)
				}
			}
			msg, err := s.Recv()
			var known *goapi.Error
			switch {
			case tt.end && !errors.Is(err, io.EOF), err == nil:
				t.Errorf("Recv = %q, %v, want %v", msg, err, io.EOF)
			case tt.status != 0 && (!errors.As(err, &known) || known.Code != tt.status):
				t.Errorf("Recv = %q, %v, want %d", msg, err, tt.status)
			case !tt.end && tt.status == 0 && (errors.As(err, &known) || errors.Is(err, io.EOF)):
				t.Errorf("Recv = %q, %v, want that it broke off", msg, err)
			}
		})
	}
}

// openBytes opens a stream to a server that answers it with the same bytes, and
// closes.
func openBytes(t testing.TB, answer string, opts *client.Options) client.Stream {
	t.Helper()
	n := serveOnce(t, answer)
	m := client.NewMicro(opts)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	s, err := m.Stream(ctx, n, &client.Request{Service: "greeter", Endpoint: "Greeter.Count", ContentType: "application/json"})
	if err != nil {
		t.Fatalf("Stream error = %v", err)
	}
	t.Cleanup(func() {
		cancel()
		_ = s.Close()
		_ = m.Close()
	})
	return s
}

// A message that is not JSON cannot be framed as json-rpc.
func TestMicroStreamFrames(t *testing.T) {
	n := micro{}.ServeStream(t, nil, echoStream)
	m := client.NewMicro(nil)
	defer m.Close()
	for _, contentType := range []string{"application/json-rpc", "application/proto-rpc"} {
		s, err := m.Stream(t.Context(), n, &client.Request{Service: "greeter", Endpoint: "Greeter.Hello", ContentType: contentType})
		if err != nil {
			t.Fatalf("Stream error = %v", err)
		}
		defer s.Close()
		if err := s.Send([]byte(`{"a":1}`)); err != nil {
			t.Errorf("Send error = %v", err)
		}
		if got, err := s.Recv(); err != nil || string(got) != `{"a":1}` {
			t.Errorf("Recv = %q, %v, want the message", got, err)
		}
		if contentType != "application/json-rpc" {
			continue
		}
		if err := s.Send([]byte("{")); !errors.Is(err, client.ErrStreamOver) {
			t.Errorf("Send of no JSON error = %v, want %v", err, client.ErrStreamOver)
		}
		if _, err := s.Recv(); goapi.Status(err) != http.StatusBadRequest {
			t.Errorf("Recv error = %v, want 400", err)
		}
	}
}

// A protobuf stream of v2 says nothing at its end: only our end tells.
func TestMicroStreamIdle(t *testing.T) {
	const one = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 200\r\n\r\n{}"
	server := serveBytes(t, one) // a part, and then silence
	m := client.NewMicro(&client.Options{StreamIdle: 50 * time.Millisecond})
	defer m.Close()
	s, err := m.Stream(t.Context(), server.node, &client.Request{Service: "greeter", Endpoint: "Greeter.Count", ContentType: "application/json"})
	if err != nil {
		t.Fatalf("Stream error = %v", err)
	}
	defer s.Close()
	if err := s.CloseSend(); err != nil {
		t.Errorf("CloseSend error = %v", err)
	}
	_, err = s.Recv()
	if known := new(goapi.Error); err == nil || errors.Is(err, io.EOF) || errors.As(err, &known) {
		t.Errorf("Recv of half a message error = %v, want that it broke off", err)
	}
}
