package handler_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/upstream"
)

const okHead = "HTTP/1.1 200 OK\r\n"

func TestHTTPStreamsBothWaysAtOnce(t *testing.T) {
	service := rawService(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, okHead+"Transfer-Encoding: chunked\r\n\r\n")
		buf := make([]byte, 100)
		for {
			n, err := req.Body.Read(buf)
			if n > 0 {
				fmt.Fprintf(c, "%x\r\n%s\r\n", n, buf[:n])
			}
			if err != nil {
				_, _ = io.WriteString(c, "0\r\n\r\n")
				return
			}
		}
	})
	c := dial(t, serve(t, nil, nil, service))
	r := bufio.NewReader(c)
	send(t, c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	expectText(t, r, "HTTP/1.1 200 OK\r\n") // before any of the body
	skipHead(t, r)
	for i := range 3 {
		piece := fmt.Sprintf("5\r\nping%d\r\n", i)
		send(t, c, piece)
		expectText(t, r, piece)
	}
	send(t, c, "0\r\n\r\n")
	expectText(t, r, "0\r\n\r\n")
}

// TestHTTPSendsPiecesAtOnce has a client whose body of known length comes in
// pieces, each of which must reach the service before the next is sent.
func TestHTTPSendsPiecesAtOnce(t *testing.T) {
	seen := make(chan string)
	service := rawService(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		seen <- req.Method
		for range 2 {
			piece := make([]byte, 3)
			if _, err := io.ReadFull(req.Body, piece); err != nil {
				return
			}
			seen <- string(piece)
		}
		_, _ = io.WriteString(c, okHead+"Content-Length: 0\r\n\r\n")
	})
	c := dial(t, serve(t, nil, nil, service))
	for _, step := range []struct{ send, want string }{
		{"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n", "PUT"}, {"abc", "abc"}, {"def", "def"},
	} {
		send(t, c, step.send)
		if got := receive(t, seen); got != step.want {
			t.Fatalf("the service has seen %q, want %q", got, step.want)
		}
	}
	expectText(t, bufio.NewReader(c), okHead)
}

// TestHTTPAnswersPiecesAtOnce has a service that sends a piece of its answer
// only when the client has the one before.
func TestHTTPAnswersPiecesAtOnce(t *testing.T) {
	tests := []struct {
		name   string
		pieces []string // what the service sends; the first is the head
		want   []string // what ends each of them at the client
	}{
		{"chunked", []string{okHead + "Transfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\n", "3\r\ndef\r\n", "0\r\n\r\n"}, []string{"\r\n\r\n", "abc\r\n", "def\r\n", "0\r\n\r\n"}},
		{"until the end", []string{"HTTP/1.0 200 OK\r\n\r\n", "abc", "def"}, []string{"\r\n\r\n", "abc\r\n", "def\r\n"}},
		{"events", []string{okHead + "Content-Type: text/event-stream; charset=utf-8\r\nContent-Length: 6\r\n\r\n", "abc", "def"}, []string{"\r\n\r\n", "abc", "def"}},
		{"known length", []string{okHead + "Content-Length: 6\r\n\r\nabc", "def"}, []string{"\r\n\r\nabc", "def"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next := make(chan struct{})
			service := rawService(t, func(c net.Conn, r *bufio.Reader) {
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				for _, piece := range tt.pieces {
					if _, err := io.WriteString(c, piece); err != nil {
						return
					}
					<-next
				}
			})
			c := dial(t, serve(t, nil, nil, service))
			r := bufio.NewReader(c)
			send(t, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			for i := range tt.pieces {
				until(t, r, tt.want[i])
				next <- struct{}{}
			}
		})
	}
}

func TestHTTPPassesTrailersOn(t *testing.T) {
	var sent http.Header
	done := make(chan struct{})
	service := rawService(t, func(c net.Conn, r *bufio.Reader) {
		defer close(done)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		sent = req.Trailer
		_, _ = io.WriteString(c, okHead+"Trailer: X-Sum, X-Micro\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"+
			"X-Sum: 1\r\nX-More: 2\r\nSet-Cookie: a=b\r\n\r\n")
	})
	gw := serve(t, nil, nil, service)
	got := exchange(t, gw, "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-T, Micro-Error, Authorization\r\n\r\n"+
		"1\r\na\r\n0\r\nX-T: v\r\nX-Late: l\r\nMicro-Error: EOS\r\nAuthorization: x\r\n\r\n")
	<-done
	if len(sent) != 2 || sent.Get("X-T") != "v" || sent.Get("X-Late") != "l" {
		t.Errorf("the service has seen trailer %v, want X-T: v and X-Late: l", sent)
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.Trailer.Get("X-Sum") != "1" || resp.Trailer.Get("X-More") != "2" || strings.Contains(got, "Set-Cookie") {
		t.Errorf("answer = %q, want X-Sum and X-More in its trailer", got)
	}
}

// TestHTTPForHTTP2 has a client that speaks HTTP/2, with a body that waits for
// its answer, and trailers.
func TestHTTPForHTTP2(t *testing.T) {
	service := rawService(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, okHead+"Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n")
		body, err := io.ReadAll(req.Body)
		if err == nil {
			fmt.Fprintf(c, "%x\r\n%s\r\n0\r\nX-Sum: %s\r\n\r\n", len(body), body, req.Trailer.Get("X-T"))
		}
	})
	rt := &goapi.Route{Service: "test", Endpoint: new(goapi.Endpoint), Upstream: upstream.Static(service)}
	srv := httptest.NewUnstartedServer(goapi.With(rt, httpHandler(t, nil)))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	body, feed := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Trailer = http.Header{"X-T": {"v"}}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.WriteString(feed, "abc"); err != nil {
		t.Fatal(err)
	}
	feed.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != "abc" || resp.ProtoMajor != 2 || resp.Trailer.Get("X-Sum") != "v" {
		t.Errorf("answer = %s %q, %v, trailer %v, want abc over HTTP/2, and X-Sum: v", resp.Proto, got, err, resp.Trailer)
	}
}

// TestHTTPEarlyAnswer has a service that answers although most of the body is
// still to come.
func TestHTTPEarlyAnswer(t *testing.T) {
	service := rawService(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
			_, _ = io.Copy(io.Discard, r)
		}
	})
	for _, framing := range []string{"Content-Length: 1000000", "Transfer-Encoding: chunked"} {
		t.Run(framing, func(t *testing.T) {
			c := dial(t, serve(t, nil, nil, service))
			send(t, c, "POST / HTTP/1.1\r\nHost: a\r\n"+framing+"\r\n\r\n3\r\nabc\r\n")
			got, err := io.ReadAll(c) // the rest of the body never comes, and the connection ends all the same
			if err != nil || finalStatus(string(got)) != 413 || !strings.HasSuffix(string(got), "\r\n\r\nno") {
				t.Errorf("answer = %q, %v, want the whole 413", got, err)
			}
			if !strings.Contains(string(got), "Connection: close\r\n") {
				t.Errorf("answer = %q, want Connection: close", got)
			}
		})
	}
}

func TestHTTPExpectContinue(t *testing.T) {
	const (
		head      = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
		interim   = "HTTP/1.1 100 Continue\r\n\r\n"
		forbidden = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
	)
	tests := []struct {
		name    string
		first   string // what the service says before it has the body
		read    bool   // whether it goes on to read it
		interim bool   // whether the client is told to go on
		status  int
	}{
		{"service wants the body", interim, true, true, 200},
		{"service does not know Expect", "", true, true, 200},
		{"service refuses", forbidden, false, false, 403},
		{"service refuses and closes", strings.Replace(forbidden, "\r\n", "\r\nConnection: close\r\n", 1), false, false, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			service := rawService(t, func(c net.Conn, r *bufio.Reader) {
				req, err := http.ReadRequest(r)
				if err != nil || req.Header.Get("Expect") != "100-continue" || !req.Close {
					return // without Connection: close, the client could be told to go on behind a refusal
				}
				_, _ = io.WriteString(c, tt.first)
				body, err := io.ReadAll(req.Body)
				if tt.read && err == nil {
					fmt.Fprintf(c, okHead+"Content-Length: %d\r\n\r\n%s", len(body), body)
				}
			})
			c := dial(t, serve(t, nil, nil, service))
			r := bufio.NewReader(c)
			send(t, c, head)
			if tt.interim {
				expectText(t, r, interim)
				send(t, c, "abc")
			}
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.status || tt.read && string(body) != "abc" {
				t.Errorf("answer = %d %q, %v, want %d", resp.StatusCode, body, err, tt.status)
			}
		})
	}
}

// TestHTTPClientGoes has a client that closes its connection: the service must
// notice, whatever it is doing.
func TestHTTPClientGoes(t *testing.T) {
	tests := []struct{ name, request, answer string }{
		{"before the answer", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""},
		{"within the answer", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", okHead + "Content-Length: 10\r\n\r\nabc"},
		{"within the body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", ""},
		{"within a chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", ""},
		{"between chunks", "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			started, ended := make(chan string, 1), make(chan string, 1)
			service := rawService(t, func(c net.Conn, r *bufio.Reader) {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, tt.answer)
				started <- ""
				_, err = io.Copy(io.Discard, req.Body)
				if err == nil && req.Body != http.NoBody {
					ended <- "with a whole body"
					return
				}
				_, _ = io.Copy(io.Discard, r)
				ended <- "without a whole body"
			})
			c := dial(t, serve(t, nil, nil, service))
			send(t, c, tt.request)
			receive(t, started)
			c.Close()
			if got := receive(t, ended); got != "without a whole body" {
				t.Errorf("the connection to the service ended %s", got)
			}
		})
	}
}

// TestHTTPConnectionServesOn has requests follow each other on one connection
// of the client, after whatever the first of them was.
func TestHTTPConnectionServesOn(t *testing.T) {
	var service echo
	c := dial(t, serve(t, nil, nil, service.start(t)))
	r := bufio.NewReader(c)
	for _, request := range []string{
		"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
		"PUT /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HEAD /4 HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /5 HTTP/1.1\r\nHost: a\r\nConnection: Content-Type\r\nContent-Length: 3\r\n\r\nabc", // refused, body unread
		"DELETE /6 HTTP/1.1\r\nHost: a\r\n\r\nGET /7 HTTP/1.1\r\nHost: a\r\n\r\n",
		"",
	} {
		send(t, c, request)
		method, _, _ := strings.Cut(request, " ")
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("after %q: %v", request, err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || resp.Close {
			t.Fatalf("after %q: %v, close %v", request, err, resp.Close)
		}
	}
	if n := service.whole(); n != 6 {
		t.Errorf("the service has seen %d requests, want 6", n)
	}
}

// send writes to a connection.
func send(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// receive returns what comes next.
func receive(t testing.TB, ch <-chan string) string {
	t.Helper()
	select {
	case s := <-ch:
		return s
	case <-time.After(deadline):
		t.Fatal("nothing came in time")
		return ""
	}
}

// expectText reads as many bytes as want has.
func expectText(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(r, got)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || string(got[:n]) != want {
		t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

// skipHead reads to the end of a head.
func skipHead(t testing.TB, r *bufio.Reader) {
	t.Helper()
	until(t, r, "\r\n\r\n")
}

// until reads up to and with end.
func until(t testing.TB, r *bufio.Reader, end string) {
	t.Helper()
	var got strings.Builder
	for !strings.HasSuffix(got.String(), end) {
		b, err := r.ReadByte()
		if err != nil {
			t.Fatalf("read %q, %v, want it to end in %q", got.String(), err, end)
		}
		got.WriteByte(b)
	}
}
