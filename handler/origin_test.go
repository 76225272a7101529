package handler_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/upstream"
)

func TestCheckOrigin(t *testing.T) {
	tests := []struct {
		pattern string
		want    string // in the error; empty for none
	}{
		{"*", ""},
		{"https://app.example.com", ""},
		{"HTTPS://App.example.com:8443", ""},
		{"https://*.example.com", ""},
		{"http://localhost:3000", ""},
		{"http://[::1]:3000", ""},
		{"http://10.0.0.1", ""},
		{"capacitor://localhost", ""},
		{"https://xn--bcher-kva.example", ""},
		{"", "a scheme and a host"},
		{"null", "a scheme and a host"},
		{"app.example.com", "a scheme and a host"},
		{"*.example.com", "a scheme and a host"},
		{"//app.example.com", "a scheme and a host"},
		{"https:app.example.com", "a scheme and a host"},
		{"https://app.example.com/", "nothing behind"},
		{"https://app.example.com/path", "nothing behind"},
		{"https://user@app.example.com", "nothing behind"},
		{"https://a.example.com, https://b.example.com", "nothing behind"},
		{"https://a.example.com:443:443", "nothing behind"},
		{"https://*", "first part"},
		{"https://a.*.example.com", "first part"},
		{"https://*.*.example.com", "first part"},
		{"https://*example.com", "first part"},
		{"*://app.example.com", "scheme"},
		{"1https://app.example.com", "scheme"},
		{"https://.example.com", "host"},
		{"https://a..example.com", "host"},
		{"https://bücher.example", "xn--"},
		{"https://app.example.com:0", "port"},
		{"https://app.example.com:65536", "port"},
	}
	for _, tt := range tests {
		err := handler.CheckOrigin(tt.pattern)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("CheckOrigin(%q) = %v, want none", tt.pattern, err)
		case tt.want == "":
		case err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "write it as https://app.example.com"):
			t.Errorf("CheckOrigin(%q) = %v, want one about %q, and what to write", tt.pattern, err, tt.want)
		}
	}
}

// TestOriginsMeanTheSame: for streams and for what is upgraded, but for none at
// all.
func TestOriginsMeanTheSame(t *testing.T) {
	node := rawService(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = fmt.Fprint(c, "HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n")
		}
	})
	tests := []struct {
		name        string
		origins     []string
		rpc, webbed int
	}{
		{"none", nil, 403, 418},
		{"any", []string{"*"}, 101, 418},
		{"the page", []string{"https://app.example.com"}, 101, 418},
		{"hosts below", []string{"https://*.example.com"}, 101, 418},
		{"another page", []string{"https://example.com"}, 403, 403},
		{"malformed", []string{"app.example.com"}, 403, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rt := helloRoute()
			rt.Upstream = upstream.Static(node)
			web := handler.Web(&handler.WebOptions{Origins: tt.origins})
			t.Cleanup(func() { _ = web.(io.Closer).Close() })
			for url, want := range map[string]int{
				serveStreams(t, memory{serve: echoes}, streamRoute(), &handler.StreamOptions{Origins: tt.origins}): tt.rpc,
				"http://" + serveHandler(t, rt, web): tt.webbed,
			} {
				_, res, err := tryDial(t, url, "Origin", "https://app.example.com")
				if res == nil || res.StatusCode != want {
					t.Errorf("handshake = %v, %v; want %d", res, err, want)
				}
			}
		})
	}
}
