package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/goapi-dev/goapi/server"
)

func TestProxyProtocol(t *testing.T) {
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	elsewhere := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	const v1 = "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n"
	const itself = "127.0.0.1"
	tests := []struct {
		name     string
		trusted  []netip.Prefix
		optional bool
		header   string
		want     string // the address that a handler sees; "" for the end of the connection
	}{
		{"version 1", local, false, v1, "203.0.113.9:4711"},
		{"version 1 of IPv6", local, false, "PROXY TCP6 2001:db8::1 2001:db8::2 4711 80\r\n", "[2001:db8::1]:4711"},
		{"version 1 that knows nothing", local, false, "PROXY UNKNOWN\r\n", itself},
		{"version 2", local, false, v2(t, "203.0.113.9:4711"), "203.0.113.9:4711"},
		{"version 2 of IPv6", local, false, v2(t, "[2001:db8::1]:4711"), "[2001:db8::1]:4711"},
		{"version 2 of the proxy itself", local, false, v2(t, ""), itself},
		{"none, which is refused", local, false, "", ""},
		{"none, which is taken as it is", local, true, "", itself},
		{"a header where it is optional", local, true, v1, "203.0.113.9:4711"},
		{"one that makes no sense", local, true, "PROXY TCP4 nowhere 127.0.0.1 1 2\r\n", ""},
		{"one without an end", local, false, "PROXY " + strings.Repeat("x", 200), ""},
		{"of a proxy that is not trusted", elsewhere, false, v1, "400"},
		{"of anybody", nil, false, v1, "400"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "from ", r.RemoteAddr) })
			s, _, _ := start(t, h, &server.Options{Proxies: tt.trusted, OptionalProxy: tt.optional, HeaderTimeout: time.Second})
			conn := dial(t, s.Addr().String())
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.WriteString(conn, tt.header+"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			b, err := io.ReadAll(conn)
			if errors.Is(err, os.ErrDeadlineExceeded) || tt.want == "" && len(b) > 0 || !strings.Contains(string(b), tt.want) {
				t.Errorf("answer = %q, %v; want %q in it", b, err, tt.want)
			}
		})
	}
}

// TestProxyProtocolOfEach has every protocol come through a proxy.
func TestProxyProtocolOfEach(t *testing.T) {
	certificate, roots := certificates(t)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, " ", r.RemoteAddr) })
	for _, secure := range []bool{false, true} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(fmt.Sprint(proto, " over TLS ", secure), func(t *testing.T) {
				opts := &server.Options{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
				scheme := "http"
				if secure {
					scheme = "https"
					opts.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
				}
				s, _, _ := start(t, h, opts)
				var p http.Protocols
				p.SetHTTP1(proto == "HTTP/1.1")
				p.SetHTTP2(proto == "HTTP/2.0" && secure)
				p.SetUnencryptedHTTP2(proto == "HTTP/2.0" && !secure)
				c := client(t, &p, roots)
				c.Transport.(*http.Transport).DialContext = through(v2(t, "203.0.113.9:4711"))
				rsp, err := c.Do(request(t, scheme+"://"+s.Addr().String(), nil))
				if err != nil {
					t.Fatal(err)
				}
				defer rsp.Body.Close()
				if b, _ := io.ReadAll(rsp.Body); string(b) != proto+" 203.0.113.9:4711" {
					t.Errorf("the handler saw %q, want %s of 203.0.113.9:4711", b, proto)
				}
			})
		}
	}
}

// TestProxyThatIsSilent holds no place that others need.
func TestProxyThatIsSilent(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "answer") })
	s, _, _ := start(t, h, &server.Options{
		Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, OptionalProxy: true, HeaderTimeout: 200 * time.Millisecond,
	})
	silent := dial(t, s.Addr().String())
	if got := get(t, "http://"+s.Addr().String()); got != "answer" {
		t.Errorf("answer to another client = %q, want it", got)
	}
	_ = silent.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadAll(silent); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the silent connection is still open")
	}
}

func TestConnectionsOfClients(t *testing.T) {
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	from := func(client string) string { return "PROXY TCP4 " + client + " 127.0.0.1 4711 80\r\n" }
	from6 := func(client string) string { return "PROXY TCP6 " + client + " ::1 4711 80\r\n" }
	tests := []struct {
		name    string
		opts    server.Options
		headers []string // of connections, one after the other
		refused []bool
	}{
		{"as many as anybody wants", server.Options{}, []string{"", "", ""}, []bool{false, false, false}},
		{"in all", server.Options{MaxConns: 2}, []string{"", "", ""}, []bool{false, false, true}},
		{"of one", server.Options{MaxPerClient: 2}, []string{"", "", ""}, []bool{false, false, true}},
		{"of one that is exempt", server.Options{MaxPerClient: 2, Exempt: local}, []string{"", "", ""}, []bool{false, false, false}},
		{"of several through a proxy", server.Options{MaxPerClient: 1, Proxies: local},
			[]string{from("203.0.113.1"), from("203.0.113.2"), from("203.0.113.1")}, []bool{false, false, true}},
		{"of one in its part of IPv6", server.Options{MaxPerClient: 1, Proxies: local},
			[]string{from6("2001:db8::1"), from6("2001:db8:0:1::1"), from6("2001:db8::2")}, []bool{false, false, true}},
		{"of a proxy for itself", server.Options{MaxPerClient: 1, Proxies: local, OptionalProxy: true, Exempt: local},
			[]string{"", "", from("203.0.113.1")}, []bool{false, false, false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "answer") })
			s, _, _ := start(t, h, &tt.opts)
			ask := func(header string) (net.Conn, bool) {
				conn := dial(t, s.Addr().String())
				_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
				_, _ = io.WriteString(conn, header+"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				b := make([]byte, 12)
				n, err := io.ReadFull(conn, b)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("a connection is neither answered nor closed")
				}
				return conn, n == 0
			}
			var conns []net.Conn
			refused := int64(0)
			for i, header := range tt.headers {
				conn, no := ask(header)
				conns = append(conns, conn)
				if no != tt.refused[i] {
					t.Errorf("connection %d refused = %t, want %t", i+1, no, tt.refused[i])
				}
				if no {
					refused++
				}
			}
			if got := s.Stats(); got.Refused != refused {
				t.Errorf("Stats = %+v, want %d refused", got, refused)
			}
			for _, c := range conns {
				c.Close()
			}
			awaitStats(t, s, func(st server.Stats) bool { return st.Conns == 0 })
			if conn, no := ask(tt.headers[0]); no { // there is room again
				t.Error("a connection was refused after the others were closed")
			} else {
				conn.Close()
			}
		})
	}
}

// awaitStats returns when the counts are as wanted.
func awaitStats(t *testing.T, s *server.Server, ok func(server.Stats) bool) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 5*time.Second; {
		if ok(s.Stats()) {
			return
		}
		<-time.After(time.Millisecond)
	}
	t.Fatalf("Stats = %+v, not what is waited for", s.Stats())
}

// through dials as a proxy does.
func through(header string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			_, err = io.WriteString(conn, header)
		}
		return conn, err
	}
}

// v2 returns the header of a proxy for a client; of the proxy itself for none.
func v2(t *testing.T, client string) string {
	t.Helper()
	var from, to net.Addr
	if client != "" {
		a := netip.MustParseAddrPort(client)
		from, to = net.TCPAddrFromAddrPort(a), net.TCPAddrFromAddrPort(netip.AddrPortFrom(a.Addr(), 80))
	}
	var b bytes.Buffer
	if _, err := proxyproto.HeaderProxyFromAddrs(2, from, to).WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
