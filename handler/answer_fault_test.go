package handler_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestHTTPWrongAnswers has services that answer what is none, and some that
// break off: whoever looks for the mistake is to know which.
func TestHTTPWrongAnswers(t *testing.T) {
	const (
		broke   = "service test broke off before it answered"
		invalid = "service test gave no valid answer: "
	)
	tests := []struct{ name, answer, want string }{
		{"garbage", strings.Repeat("garbage\r\n", 10), invalid + "it is malformed"},
		{"other version", "HTTP/9.9 OK\r\n\r\n", invalid + "it is malformed"},
		{"status of letters", "HTTP/1.1 abc OK\r\n\r\n", invalid + "it is malformed"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", invalid + "it is malformed"},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab", invalid + "it is malformed"},
		{"unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: rot13\r\n\r\nab", invalid + "it is malformed"},
		{"field without a colon", "HTTP/1.1 200 OK\r\nX\r\n\r\n", invalid + "it is malformed"},
		{"field of spaces", "HTTP/1.1 200 OK\r\nX Y: 1\r\n\r\n", invalid + `header \"X Y\" is malformed`},
		{"CR in a field", "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", invalid},
		{"no status", "HTTP/1.1 000 Nothing\r\n\r\n", invalid + "its status is 000 Nothing"},
		{"large header", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 1000), invalid + "its header is too large"},
		{"interim answers", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 200), invalid + "it has more interim answers than there may be"},
		{"nothing", "", broke},
		{"a line", "HTTP/1.1 200 OK\r\n", broke},
		{"half a header", "HTTP/1.1 200 OK\r\nX: 1\r\n", broke},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			service := rawService(t, func(c net.Conn, r *bufio.Reader) {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body) // else the connection is reset
				_, _ = io.WriteString(c, tt.answer)  // the answer of the gateway tells
			})
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+serve(t, nil, nil, service), strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			tr := &http.Transport{DisableKeepAlives: true}
			res, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if got := textOf(res); !strings.HasPrefix(got, "502 ") || !strings.Contains(got, `"`+tt.want) {
				t.Errorf("answer = %s, want 502 and %q", got, tt.want)
			}
		})
	}
}
