package middleware_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/middleware"
)

// TestAuthAgainstForgedHeaders sends bytes to a server: what a client says of
// itself never reaches the service, however it is written.
func TestAuthAgainstForgedHeaders(t *testing.T) {
	const keys = "alice sha256:%s"
	head := "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
	known := "X-API-Key: 0123456789abcdef\r\n"
	tests := []struct {
		name, request string
		status        string
		want          []string // headers and trailers of the service that look like ours
	}{
		{"as it is", head + known + "X-User: root\r\n\r\n", "200", []string{"X-User=alice"}},
		{"another case", head + known + "x-uSER: root\r\n\r\n", "200", []string{"X-User=alice"}},
		{"twice", head + known + "X-User: root\r\nX-User: root\r\n\r\n", "200", []string{"X-User=alice"}},
		{"underscore", head + known + "X_User: root\r\nX_USER: root\r\n\r\n", "200", []string{"X-User=alice"}},
		{"dot", head + known + "X.User: root\r\nX~User: root\r\n\r\n", "200", []string{"X-User=alice"}},
		{"a claim that is absent", head + known + "X-Org: admins\r\nX_Org: admins\r\n\r\n", "200", []string{"X-User=alice"}},
		{"by nobody", head + "X-User: root\r\nX_User: root\r\n\r\n", "200", nil},
		{"folded over two lines", head + known + "X-Other: a\r\n X-User: root\r\n\r\n", "200", []string{"X-User=alice"}},
		{"space before the colon", head + known + "X-User : root\r\n\r\n", "400", nil},
		{"taken off by Connection", strings.Replace(head, "close", "close, x-user", 1) + known + "\r\n", "400", nil},
		{"taken off by Connection, like it", strings.Replace(head, "close", "x_user", 1) + known + "\r\n", "400", nil},
		{"two keys", head + known + known + "\r\n", "400", nil},
		{"two kinds of key", head + known + "Authorization: ApiKey 0123456789abcdef\r\n\r\n", "400", nil},
		{"two Authorization headers", head + "Authorization: ApiKey 0123456789abcdef\r\nAuthorization: ApiKey 0123456789abcdef\r\n\r\n", "400", nil},
		{"two Authorization headers, of which one is empty", head + "Authorization:\r\nAuthorization: ApiKey 0123456789abcdef\r\n\r\n", "400", nil},
		{"a list of credentials", head + "Authorization: ApiKey 0123456789abcdef, ApiKey 0123456789abcdef\r\n\r\n", "401", nil},
		{"a control character", head + "X-API-Key: 0123456789abcdef\x01\r\n\r\n", "400", nil},
		{
			"in the trailer", head + known + "Transfer-Encoding: chunked\r\nTrailer: X-User, X_User, X-Sum\r\n\r\n" +
				"1\r\na\r\n0\r\nX-User: root\r\nX_User: root\r\nX-Sum: 1\r\n\r\n", "200", []string{"X-User=alice"},
		},
		{
			"in the trailer, not announced", head + known + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" +
				"1\r\na\r\n0\r\nX-User: root\r\nX_User: root\r\nX-Sum: 1\r\n\r\n", "200", []string{"X-User=alice"},
		},
		{
			"in the trailer, none announced", head + known + "Transfer-Encoding: chunked\r\n\r\n" +
				"1\r\na\r\n0\r\nX-User: root\r\n\r\n", "200", []string{"X-User=alice"},
		},
		{
			"in the trailer, by nobody", head + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" +
				"1\r\na\r\n0\r\nX-User: root\r\nX-Sum: 1\r\n\r\n", "200", nil,
		},
	}
	served := make(chan []string, 1)
	h := authAround(t,
		[]middleware.Authenticator{mustKeys(t, fmt.Sprintf(keys, strings.TrimPrefix(middleware.HashKey("0123456789abcdef"), "sha256:")), nil)},
		&middleware.AuthOptions{Optional: true, Headers: map[string]string{"X-User": "subject", "X-Org": "claim:org"}},
		func(r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			var seen []string
			for _, h := range []http.Header{r.Header, r.Trailer} {
				for name, values := range h {
					if lower := strings.ToLower(name); strings.HasSuffix(lower, "user") || strings.HasSuffix(lower, "org") {
						seen = append(seen, name+"="+strings.Join(values, "|"))
					}
				}
			}
			served <- seen
		})
	server := httptest.NewServer(h)
	defer server.Close()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := rawRequest(t, server.Listener.Addr().String(), tt.request); got != tt.status {
				t.Fatalf("status = %s, want %s", got, tt.status)
			}
			var seen []string
			if tt.status == "200" {
				seen = <-served
			}
			if !slices.Equal(seen, tt.want) {
				t.Errorf("service sees %q, want %q", seen, tt.want)
			}
		})
	}
}

// TestAuthKeepsOtherTrailers has a trailer that is the client's to send.
func TestAuthKeepsOtherTrailers(t *testing.T) {
	served := make(chan http.Header, 1)
	h := authAround(t, nil, &middleware.AuthOptions{Headers: map[string]string{"X-User": "subject"}}, func(r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		served <- r.Trailer
	})
	server := httptest.NewServer(h)
	defer server.Close()
	rawRequest(t, server.Listener.Addr().String(), "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"+
		"Trailer: X-Sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\nX-User: root\r\n\r\n")
	got := <-served
	if !slices.Equal(got["X-Sum"], []string{"1"}) || got["X-User"] != nil {
		t.Errorf("trailer = %v, want X-Sum alone", got)
	}
}

// rawRequest sends bytes and returns the status of the answer.
func rawRequest(t *testing.T, address, request string) string {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(line, " ")
	return rest[:3]
}
