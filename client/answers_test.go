package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
)

// Answers to curl, as v6 and v2 services gave them.
func TestMicroReadsTranscripts(t *testing.T) {
	tests := []struct {
		name, transcript string
		index            int
		want             string // the message
		status           int    // or the error's
		detail           string
	}{
		{"call", "curl-v6/transcript.txt", 0, `{"message":"Hello curl"}` + "\n", 0, ""},
		{"no service", "curl-v6/transcript.txt", 1, `{"message":"Hello curl"}` + "\n", 0, ""},
		{"method for endpoint", "curl-v6/transcript.txt", 2, `{"message":"Hello curl"}` + "\n", 0, ""},
		{"old headers", "curl-v6/transcript.txt", 3, `{"message":"Hello curl"}` + "\n", 0, ""},
		{"ill-formed", "curl-v6/transcript.txt", 4, "", 400, "rpc: service/endpoint request ill-formed:"},
		{"parameters", "curl-v6/transcript.txt", 6, "", 502, `service greeter answered application/json with "text/plain"`},
		{"unsupported", "curl-v6/transcript.txt", 7, "", 502, `service greeter answered application/json with "text/plain"`},
		{"GET", "curl-v6/transcript.txt", 8, `{"message":"Hello "}` + "\n", 0, ""},
		{"unknown field", "curl-v6/transcript.txt", 9, "", 400, "proto:\u00a0(line 1:16): unknown field \"nosuch\""},
		{"no JSON", "curl-v6/transcript.txt", 10, "", 400, "invalid character 'o' in literal null (expecting 'u')"},
		{"strings for numbers", "curl-v6/transcript.txt", 11, `{"message":"Hello curl","big":"9007199254740993"}` + "\n", 0, ""},
		{"teapot", "curl-v6/transcript.txt", 12, "", 418, "teapot"},
		{"plain", "curl-v6/transcript.txt", 13, "", 500, "a plain error"},
		{"unknown service", "curl-v6/transcript.txt", 14, "", 404, "rpc: can't find service Nope"},
		{"deadline", "curl-v6/transcript.txt", 15, "", 504, "context deadline exceeded"},
		{"go.api", "curl-v6/transcript.txt", 16, `{"statusCode":202,"header":{"Content-Type":{"key":"Content-Type","values":["text/plain"]},"X-Echo":{"key":"X-Echo","values":["a","b"]}},"body":"method=POST path=/echo/x url=/echo/x?a=1 get=map[a:key:\"a\"  values:\"1\"] post=map[] body=\"raw\" headers=[Host=h]"}` + "\n", 0, ""},
		{"closes", "curl-v6/transcript.txt", 17, `{"message":"Hello metadata","metadata":{"Accept":"*/*","Connection":"close","Content-Length":"19","Content-Type":"application/json","Local":"127.0.0.1:19001","Micro-Endpoint":"Greeter.Hello","Micro-Service":"greeter","Remote":"127.0.0.1:58926","User-Agent":"curl/7.88.1"}}` + "\n", 0, ""},
		{"v2 unknown field", "v2/curl.txt", 0, "", 400, `unknown field "nosuch" in greeter.HelloRequest`},
		{"v2 bad request", "v2/curl.txt", 1, "", 400, "bad name badrequest"},
		{"v2 parameters", "v2/curl.txt", 3, "", 502, `service greeter answered application/json with "text/plain"`},
		{"v2 string for number", "v2/curl.txt", 5, `{"message":"Hello b","big":9007199254740993}` + "\n", 0, ""},
		{"v2 number for string", "v2/curl.txt", 4, "", 400, "json: cannot unmarshal number into Go value of type string"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			call := readTranscript(t, tt.transcript)[tt.index]
			res, err := callNode(t, serveBytes(t, call.answer).node, call.body)
			if tt.status == 0 {
				if err != nil || string(res.Body) != tt.want {
					t.Errorf("Call = %v, %v, want %s", res, err, tt.want)
				}
				return
			}
			var got *goapi.Error
			if !errors.As(err, &got) || got.Code != tt.status || got.Detail != tt.detail {
				t.Errorf("Call error = %v, want %d %s", err, tt.status, tt.detail)
			}
		})
	}
}

// Without a content type, protobuf is meant: ours always says so.
func TestMicroReadsProtobufTranscripts(t *testing.T) {
	tests := []struct {
		transcript string
		index      int
	}{
		{"curl-v6/transcript.txt", 18},
		{"curl-v6/transcript.txt", 19},
		{"v2/curl.txt", 6},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.transcript, tt.index), func(t *testing.T) {
			m := client.NewMicro(nil)
			defer m.Close()
			res, err := m.Call(t.Context(), serveBytes(t, readTranscript(t, tt.transcript)[tt.index].answer).node, &client.Request{
				Service: "greeter", Endpoint: "Greeter.Hello", ContentType: "application/protobuf", Body: []byte("\n\x04curl"),
			})
			if want := "\n\nHello curl"; err != nil || string(res.Body) != want {
				t.Errorf("Call = %v, %v, want %q", res, err, want)
			}
		})
	}
}

// callNode calls Greeter.Hello in JSON.
func callNode(t *testing.T, n *registry.Node, body string) (*client.Response, error) {
	t.Helper()
	m := client.NewMicro(nil)
	t.Cleanup(func() { _ = m.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return m.Call(ctx, n, &client.Request{
		Service: "greeter", Endpoint: "Greeter.Hello", ContentType: "application/json", Body: []byte(body),
	})
}

// What is an answer, what is none, and what is nothing at all.
func TestMicroReadsAnswers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	tests := []struct {
		name, answer string
		want         string
		status       int // 0 with an error: not a *goapi.Error
		fails        bool
	}{
		{"message", ok + "Content-Length: 2\r\n\r\n{}", "{}", 0, false},
		{"chunked", ok + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", "{}", 0, false},
		{"until it closes", ok + "Connection: close\r\nContent-Length: 2\r\n\r\n{}", "{}", 0, false},
		{"parameters", "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}", "{}", 0, false},
		{"old error header", ok + "X-Micro-Error: rpc: can't find service X\r\nContent-Length: 0\r\n\r\n", "", 404, true},
		{"error with a status", "HTTP/1.1 500 Oops\r\nMicro-Error: {\"id\":\"a\",\"code\":403,\"detail\":\"d\"}\r\nContent-Length: 0\r\n\r\n", "", 403, true},
		{"large echo", ok + "X-Echo: " + strings.Repeat("a", 100<<10) + "\r\nContent-Length: 2\r\n\r\n{}", "{}", 0, false},
		{"status 500", "HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\noops", "", 502, true},
		{"status 404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "", 502, true},
		{"redirect", "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "", 502, true},
		{"no content type", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "", 502, true},
		{"other content type", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n{}", "", 502, true},
		{"endless header", ok + "X-Echo: " + strings.Repeat("a", 1<<20) + "\r\nContent-Length: 2\r\n\r\n{}", "", 0, true},
		{"bad header", ok + "X\x00Y: a\r\n\r\n", "", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := callNode(t, serveBytes(t, tt.answer).node, "{}")
			var known *goapi.Error
			switch {
			case !tt.fails && (err != nil || string(res.Body) != tt.want):
				t.Errorf("Call = %v, %v, want %s", res, err, tt.want)
			case tt.status != 0 && goapi.Status(err) != tt.status:
				t.Errorf("Call error = %v, want %d", err, tt.status)
			case tt.fails && (err == nil || (tt.status == 0) == errors.As(err, &known)):
				t.Errorf("Call error = %v, want a *goapi.Error: %t", err, tt.status != 0)
			}
		})
	}
}

// What a client reads of an answer that is none.
func TestMicroSaysWhatAServiceAnswered(t *testing.T) {
	tests := []struct{ name, answer, want string }{
		{"status", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "service greeter answered with status 404"},
		{"no content type", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "service greeter answered without a content type"},
		{"other content type", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n{}", `service greeter answered application/json with "text/html"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := callNode(t, serveBytes(t, tt.answer).node, "{}")
			if e, ok := errors.AsType[*goapi.Error](err); !ok || e.Detail != tt.want {
				t.Errorf("Call error = %v, want %s", err, tt.want)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	_, err := new(client.Micro).Call(ctx, nil, &client.Request{Service: "greeter", Endpoint: "Greeter.Hello"})
	if e, ok := errors.AsType[*goapi.Error](err); !ok || e.Detail != "service greeter did not answer in time" {
		t.Errorf("Call error = %v, want that the service did not answer in time", err)
	}
}

func TestMicroNeedsHostAndPort(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1:1/x", "user@127.0.0.1:1", "127.0.0.1:1?a", "127.0.0.1:x", "[::1", "a b:1", "127.0.0.1:1\r\n"} {
		t.Run(address, func(t *testing.T) {
			res, err := callNode(t, &registry.Node{ID: "n", Address: address}, "{}")
			if known := new(goapi.Error); err == nil || errors.As(err, &known) {
				t.Errorf("Call = %v, %v, want an error that is not the service's", res, err)
			}
		})
	}
}

// What a client sent must not make net/http send a call twice.
func TestMicroSendsOnce(t *testing.T) {
	var requests atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
			_, _ = io.WriteString(w, "{}")
			return
		}
		if r.Header.Get("Idempotency-Key") != "k" || r.Header.Get("X-Idempotency-Key") != "x" {
			t.Errorf("header = %v, want the keys", r.Header)
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack error = %v", err)
			return
		}
		_ = conn.Close()
	}))
	defer srv.Close()

	m := client.NewMicro(nil)
	defer m.Close()
	node := &registry.Node{ID: "n", Address: srv.Listener.Addr().String()}
	req := &client.Request{
		Service: "greeter", Endpoint: "Greeter.Hello", ContentType: "application/json", Body: []byte("{}"),
		Header: map[string]string{"Idempotency-Key": "k", "X-Idempotency-Key": "x"},
	}
	if _, err := m.Call(t.Context(), node, req); err != nil {
		t.Fatalf("Call error = %v", err)
	}
	if _, err := m.Call(t.Context(), node, req); err == nil {
		t.Error("Call on a connection that closes error = nil, want one")
	}
	if got := requests.Load(); got != 2 {
		t.Errorf("the service saw %d requests, want 2", got)
	}
}

// Listeners of v4 to v6 take HTTP/2, and answer calls over it with nothing.
func TestMicroSpeaksHTTP1(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, r.Proto)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	tr, ok := srv.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("the test server's client has no Transport")
	}
	m := client.NewMicro(&client.Options{TLS: tr.TLSClientConfig})
	defer m.Close()
	n := &registry.Node{Address: srv.Listener.Addr().String(), Metadata: map[string]string{"secure": "true"}}
	res, err := m.Call(t.Context(), n, &client.Request{Service: "s", Endpoint: "T.M", ContentType: "application/json"})
	if err != nil || string(res.Body) != "HTTP/1.1" {
		t.Errorf("Call = %v, %v, want HTTP/1.1", res, err)
	}
}

func BenchmarkMicroCall(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, r.Body)
	}))
	defer srv.Close()
	m := client.NewMicro(nil)
	defer m.Close()
	n := &registry.Node{Address: srv.Listener.Addr().String()}
	req := &client.Request{
		Service: "greeter", Endpoint: "Greeter.Hello", ContentType: "application/json",
		Body: []byte(`{"name":"john"}`), Header: map[string]string{"X-Request-Id": "1", "Authorization": "Bearer t"},
		Sent: func() {},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Call(b.Context(), n, req); err != nil {
			b.Fatal(err)
		}
	}
}
