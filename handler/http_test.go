package handler_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
)

func TestHTTPForwardsTarget(t *testing.T) {
	tests := []struct {
		name, strip, target, want string
	}{
		{"plain", "", "/a/b?x=1", "/a/b?x=1"},
		{"root", "", "/", "/"},
		{"escaped slash", "", "/a%2Fb", "/a%2Fb"},
		{"lower case escape", "", "/a%2fb", "/a%2fb"},
		{"needless escape", "", "/%61", "/%61"},
		{"escaped twice", "", "/a%252e%252e/b", "/a%252e%252e/b"},
		{"escaped NUL", "", "/a%00.json", "/a%00.json"},
		{"escaped line end", "", "/a%0d%0aX-Evil:%201", "/a%0d%0aX-Evil:%201"},
		{"no path characters", "", `/a"<>|{}^` + "`", `/a"<>|{}^` + "`"},
		{"backslash", "", `/a\b`, `/a\b`},
		{"raw bytes", "", "/\xc3\xa9", "/\xc3\xa9"},
		{"two slashes first", "", "//evil.example/x", "//evil.example/x"},
		{"two slashes first, odd", "", `//a%2Fb/"`, "//a%2Fb/%22"},
		{"two slashes within", "", "/a//b/", "/a//b/"},
		{"fragment", "", "/a#b", "/a%23b"},
		{"empty query", "", "/a?", "/a?"},
		{"semicolons", "", "/a?x=1;y=2&z", "/a?x=1;y=2&z"},
		{"query as it is", "", "/a?%zz=%2F&q=a+b", "/a?%zz=%2F&q=a+b"},
		{"absolute form", "", "http://goapi.test/a?b", "/a?b"},
		{"absolute form without path", "", "http://goapi.test", "/"},
		{"strip", "/v1", "/v1/a%2Fb?x", "/a%2Fb?x"},
		{"strip all", "/v1", "/v1", "/"},
		{"strip keeps a slash", "/v1", "/v1/", "/"},
		{"strip at a boundary", "/v1", "/v10/a", "/v10/a"},
		{"strip two", "/v1/api", "/v1/api/x", "/x"},
		{"strip two, one there", "/v1/api", "/v1/x", "/v1/x"},
		{"strip without slashes", "v1", "/v1/x", "/x"},
		{"strip with slashes", "/v1/", "/v1/x", "/x"},
		{"strip once", "/v1", "/v1/v1/x", "/v1/x"},
		{"strip what was escaped", "/v1", "/%761/x", "/x"},
		{"strip leaves two slashes", "/v1", "/v1//evil/x", "//evil/x"},
		{"strip nothing", "/", "/x", "/x"},
	}
	var service echo
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			gw := serve(t, &goapi.Endpoint{Strip: tt.strip}, nil, service.start(t))
			got := exchange(t, gw, "GET "+tt.target+" HTTP/1.1\r\nHost: goapi.test\r\nConnection: close\r\n\r\n")
			if want := "GET " + tt.want + " HTTP/1.1\r\n"; !strings.Contains(got, want) {
				t.Errorf("GET %s gave\n%s\nwant %q", tt.target, got, want)
			}
		})
	}
}

func TestHTTPForwardsHeader(t *testing.T) {
	trusting := &handler.HTTPOptions{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	tests := []struct {
		name   string
		opts   *handler.HTTPOptions
		header string
		want   []string // lines
		lacks  []string
	}{
		{
			name:   "origin",
			header: "X-A: 1\r\nX-A: 2\r\nCookie: a=b\r\n",
			want: []string{
				"Host: goapi.test", "X-A: 1", "X-A: 2", "Cookie: a=b", "X-Forwarded-For: 127.0.0.1", "X-Real-Ip: 127.0.0.1",
				"X-Forwarded-Host: goapi.test", "X-Forwarded-Proto: http", "Via: 1.1 goapi",
			},
			lacks: []string{"User-Agent:", "Accept-Encoding:", "Connection:", "Transfer-Encoding:", "Content-Length:"},
		},
		{
			name: "spoofed origin",
			header: "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n" +
				"X-Forwarded-Prefix: /evil\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n",
			want:  []string{"X-Forwarded-For: 127.0.0.1", "X-Real-Ip: 127.0.0.1", "X-Forwarded-Host: goapi.test"},
			lacks: []string{"6.6.6.6", "7.7.7.7", "evil", "X-Forwarded-Port", "Forwarded: "},
		},
		{
			name: "origin by a trusted proxy",
			opts: trusting,
			header: "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Host: front\r\nX-Forwarded-Port: 443\r\n" +
				"X-Forwarded-Proto: https\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nVia: 1.0 front\r\n",
			want: []string{
				"X-Forwarded-For: 6.6.6.6, 7.7.7.7, 127.0.0.1", "X-Real-Ip: 6.6.6.6", "X-Forwarded-Host: front",
				"X-Forwarded-Port: 443", "X-Forwarded-Proto: https",
				`Forwarded: for=6.6.6.6, for=127.0.0.1;host="goapi.test";proto=http`, "Via: 1.0 front, 1.1 goapi",
			},
		},
		{
			name:   "nothing by a trusted proxy",
			opts:   trusting,
			header: "",
			want:   []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: goapi.test"},
			lacks:  []string{"Forwarded: for"},
		},
		{
			name: "for one hop",
			header: "Connection: keep-alive, X-Secret, Upgrade, HTTP2-Settings\r\nX-Secret: 1\r\nKeep-Alive: 300\r\nProxy-Connection: keep-alive\r\n" +
				"Proxy-Authorization: Basic x\r\nTE: gzip\r\nTrailer: X-T\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\nProxy: http://evil\r\n",
			lacks: []string{"X-Secret", "Keep-Alive", "Proxy", "Te:", "Trailer", "Upgrade", "Http2", "Connection"},
		},
		{
			name:   "the gateway's own, named for one hop",
			header: "Connection: close, X-Forwarded-For, X-Forwarded-Host, X-Real-IP, Via\r\nX-Forwarded-For: 6.6.6.6\r\n",
			want:   []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: goapi.test", "X-Real-Ip: 127.0.0.1", "Via: 1.1 goapi"},
		},
		{
			name:   "trailers are wanted",
			header: "TE: gzip;q=0.5, trailers\r\nConnection: TE\r\n",
			want:   []string{"Te: trailers"},
		},
		{
			name:   "a protocol's own",
			header: "Micro-Topic: t\r\nX-Micro-Endpoint: A.B\r\nmicro-error: x\r\nMicrosoft: 1\r\n",
			want:   []string{"Microsoft: 1"},
			lacks:  []string{"Micro-"},
		},
		{
			name:   "underscores",
			header: "X_Forwarded_For: 6.6.6.6\r\nX-Auth_User: admin\r\n",
			lacks:  []string{"6.6.6.6", "admin"},
		},
		{
			name:   "expects a body that it has not",
			header: "Expect: 100-continue\r\n",
			lacks:  []string{"Expect"},
		},
		{
			name:   "its own user agent",
			header: "User-Agent: curl/8\r\nAccept-Encoding: br\r\n",
			want:   []string{"User-Agent: curl/8", "Accept-Encoding: br"},
		},
	}
	var service echo
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			gw := serve(t, nil, tt.opts, service.start(t))
			got := exchange(t, gw, "GET / HTTP/1.1\r\nHost: goapi.test\r\n"+tt.header+"\r\n")
			_, got, _ = strings.Cut(got, "\r\n\r\n") // what the service has seen is the body
			lines := strings.Split(got, "\r\n")
			for _, want := range tt.want {
				if !slices.Contains(lines, want) {
					t.Errorf("the service has seen\n%s\nwant a line %q", got, want)
				}
			}
			for _, lacks := range tt.lacks {
				if strings.Contains(got, lacks) {
					t.Errorf("the service has seen\n%s\nwant nothing of %q", got, lacks)
				}
			}
			if n := strings.Count(got, "X-Forwarded-For:"); n != 1 {
				t.Errorf("the service has seen %d lines of X-Forwarded-For, want 1", n)
			}
		})
	}
}

func TestHTTPRefuses(t *testing.T) {
	tests := []struct {
		name, request string
		want          int
	}{
		{"two credentials", "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400},
		{"a credential for one hop", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, authorization\r\nAuthorization: Bearer a\r\n\r\n", 400},
		{"a cookie for one hop", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Cookie\r\nCookie: a=b\r\n\r\n", 400},
		{"framing for one hop", "POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 1\r\n\r\na", 400},
		{"a host for one hop", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n", 400},
		{"CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405},
		{"a host behind an address", "GET / HTTP/1.1\r\nHost: [::1]evil.example\r\n\r\n", 400},
		{"an address without an end", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
		{"an address without a start", "GET / HTTP/1.1\r\nHost: ::1]:80\r\n\r\n", 400},
		{"no address", "GET / HTTP/1.1\r\nHost: [abc]\r\n\r\n", 400},
		{"an address within a name", "GET / HTTP/1.1\r\nHost: a[::1]\r\n\r\n", 400},
		{"two ports", "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400},
		{"a port with a sign", "GET / HTTP/1.1\r\nHost: a:-1\r\n\r\n", 400},
		{"an odd expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: y 100-continue\r\nContent-Length: 3\r\n\r\nabc", 417},
		{"a circle", "GET / HTTP/1.1\r\nHost: a\r\nVia: " + strings.Repeat("1.1 goapi, ", 16) + "1.1 b\r\n\r\n", 508},
		{"a chunk size with a sign", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", 400},
		{"a chunk that ends early", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc\r\n0\r\n\r\n", 400},
		{"a trailer that has no name", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: a b\r\n\r\n0\r\n\r\n", 400},
		{"a trailer that breaks its line", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n1\r\na\r\n0\r\nX-T: a\x00b\r\n\r\n", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var service echo
			gw := serve(t, nil, nil, service.start(t))
			got := exchange(t, gw, tt.request)
			if want := fmt.Sprintf("HTTP/1.1 %d ", tt.want); !strings.HasPrefix(got, want) {
				t.Errorf("answer = %q, want %q", got, want)
			}
			if closes := strings.Contains(got, "\r\nConnection: close\r\n"); tt.name == "CONNECT" && !closes {
				t.Errorf("answer = %q, want the connection to end", got)
			}
			if n := service.whole(); n != 0 {
				t.Errorf("the service has seen %d whole requests, want 0", n)
			}
		})
	}
}

// TestHTTPAnswers has a service that writes an answer, byte for byte, and then
// closes the connection, against what the client gets.
func TestHTTPAnswers(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\n"
	tests := []struct {
		name, method, answer string
		status               int // 0: the connection breaks
		want, lacks          string
	}{
		{name: "whole", answer: head + "Content-Length: 2\r\n\r\nok", status: 200, want: "\r\n\r\nok"},
		{name: "chunked", answer: head + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", status: 200, want: "2\r\nok\r\n0\r\n\r\n"},
		{name: "until the end", answer: "HTTP/1.0 200 OK\r\n\r\nok", status: 200, want: "2\r\nok\r\n0\r\n\r\n"},
		{name: "without a type", answer: head + "Content-Length: 6\r\n\r\n<html>", status: 200, lacks: "Content-Type"},
		{name: "with its date", answer: head + "Date: then\r\nContent-Length: 0\r\n\r\n", status: 200, want: "Date: then\r\n"},
		{name: "HEAD", method: "HEAD", answer: head + "Content-Length: 5\r\n\r\n", status: 200, want: "Content-Length: 5\r\n"},
		{name: "no content", answer: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, lacks: "Content-Length"},
		{name: "not modified", answer: "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\n\r\n", status: 304, want: `Etag: "x"`},
		{name: "its own error", answer: "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno", status: 500, want: "\r\n\r\nno"},
		{name: "a status of its own", answer: "HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n\r\n", status: 799},
		{name: "cookies", answer: head + "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n", status: 200, want: "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n"},
		{
			name:   "for one hop",
			answer: head + "Connection: x-internal, keep-alive\r\nX-Internal: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok",
			status: 200, want: "\r\n\r\nok", lacks: "X-Internal",
		},
		{name: "interim answers", answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 3) + head + "Content-Length: 2\r\n\r\nok", status: 200, want: "ok"},
		{name: "many interim answers", answer: strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 50) + head + "Content-Length: 2\r\n\r\nok", status: 200, want: "ok"},
		{name: "nothing but interim answers", answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 500), status: 502},

		{name: "nothing", answer: "", status: 502},
		{name: "noise", answer: "SSH-2.0-OpenSSH\r\n\r\n", status: 502},
		{name: "half a head", answer: head + "Content-Le", status: 502},
		{name: "a status of two digits", answer: "HTTP/1.1 20 OK\r\n\r\n", status: 502},
		{name: "a status below 100", answer: "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", status: 502},
		{name: "a negative status", answer: "HTTP/1.1 -20 OK\r\n\r\n", status: 502},
		{name: "a switch", answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: evil\r\nConnection: Upgrade\r\n\r\n", status: 502, lacks: "evil"},
		{name: "a NUL", answer: head + "Set-Cookie: a\x00b\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n", status: 502, lacks: "X-Kept"},
		{name: "a bare CR", answer: head + "X-A: a\rX-Evil: 1\r\nContent-Length: 0\r\n\r\n", status: 502, lacks: "Evil: "},
		{name: "a bad name", answer: head + "X-Kept: 1\r\nX-Kept-Too: 1\r\nX A: 1\r\nContent-Length: 0\r\n\r\n", status: 502, lacks: "X-Kept"},
		{name: "no colon", answer: head + "X-A\r\nContent-Length: 0\r\n\r\n", status: 502},
		{name: "two lengths", answer: head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", status: 502},
		{name: "a negative length", answer: head + "Content-Length: -1\r\n\r\n", status: 502},
		{name: "an unknown coding", answer: head + "Transfer-Encoding: xchunked\r\n\r\n", status: 502},
		{name: "a long head", answer: head + "X-A: " + strings.Repeat("a", 1<<20) + "\r\nContent-Length: 0\r\n\r\n", status: 502},
		{name: "a head of many lines", answer: head + strings.Repeat("X-A: a\r\n", 1<<17) + "Content-Length: 0\r\n\r\n", status: 502},

		{name: "too short", answer: head + "Content-Length: 10\r\n\r\nok"},
		{name: "no last chunk", answer: head + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"},
		{name: "a NUL in the trailer", answer: head + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: a\x00b\r\n\r\n"},
		{name: "a bad chunk", answer: head + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			service := rawService(t, func(c net.Conn, r *bufio.Reader) {
				if _, err := http.ReadRequest(r); err == nil {
					_, _ = io.WriteString(c, tt.answer)
				}
			})
			method := tt.method
			if method == "" {
				method = "GET"
			}
			got := exchange(t, serve(t, nil, nil, service), method+" / HTTP/1.1\r\nHost: a\r\n\r\n")
			if tt.status == 0 {
				if whole(got, method) {
					t.Errorf("answer = %q, want one that breaks off", got)
				}
				return
			}
			if status := finalStatus(got); status != tt.status {
				t.Errorf("status = %d in %.300q, want %d", status, got, tt.status)
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("answer = %q, want %q in it", got, tt.want)
			}
			if tt.lacks != "" && strings.Contains(got, tt.lacks) {
				t.Errorf("answer = %q, want nothing of %q", got, tt.lacks)
			}
		})
	}
}

func TestHTTPRelaysInterimAnswers(t *testing.T) {
	service := rawService(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(c, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-B\r\nX-B: 1\r\n\r\n", 8)+
				"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	outer := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Outer", "1")
			h.ServeHTTP(w, r)
		})
	}
	gw := serveWith(t, outer, nil, nil, service)
	got := exchange(t, gw, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if n := strings.Count(got, "HTTP/1.1 103 Early Hints\r\n"); n != 5 {
		t.Errorf("%d interim answers, want 5", n)
	}
	_, final, _ := strings.Cut(got, "HTTP/1.1 200")
	if strings.Contains(final, "Link") || !strings.Contains(final, "X-Outer: 1") || strings.Contains(got, "X-B") {
		t.Errorf("answer = %q, want Link before the final head, X-Outer in it, and X-B nowhere", got)
	}
	old := exchange(t, gw, "GET / HTTP/1.0\r\nHost: a\r\n\r\n")
	if strings.Contains(old, "103") {
		t.Errorf("answer to HTTP/1.0 = %q, want no interim answer", old)
	}
}

// TestHTTPHeadOfAStream asks for the head of an answer that does not end: what
// comes next does not wait for it, and the service is told that nobody does.
func TestHTTPHeadOfAStream(t *testing.T) {
	left := make(chan struct{})
	service := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			return
		}
		defer close(left)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	gw := serve(t, nil, nil, service)
	for _, method := range []string{http.MethodHead, http.MethodPost} {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+gw+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s = %v, %v, want 200", method, res, err)
		}
		res.Body.Close()
	}
	<-left
	http.DefaultClient.CloseIdleConnections()
}
