package server_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/goapi-dev/goapi/server"
)

// TestALPN has clients agree on a protocol, and then begin one.
func TestALPN(t *testing.T) {
	certificate, roots := certificates(t)
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	tests := []struct {
		name   string
		offer  []string
		server []string // what the tls.Config names
		agreed string
		send   string
		want   string // what the answer begins with; "" for the end of the connection
	}{
		{"HTTP/2", []string{"h2", "http/1.1"}, nil, "h2", preface, "\x00\x00"},
		{"HTTP/1.1", []string{"http/1.1"}, nil, "http/1.1", get, "HTTP/1.1 200"},
		{"nothing, and HTTP/1.1", nil, nil, "", get, "HTTP/1.1 200"},
		{"nothing, and HTTP/2", nil, nil, "", preface, ""},
		{"HTTP/1.1, and HTTP/2", []string{"http/1.1"}, nil, "http/1.1", preface, ""},
		{"HTTP/2, and HTTP/1.1", []string{"h2"}, nil, "h2", get, ""},
		{"HTTP/2, and half of it", []string{"h2"}, nil, "h2", preface[:18] + "GET / HTTP/1.1\r\n\r\n", ""},
		{"HTTP/2, which the server does not offer", []string{"h2", "http/1.1"}, []string{"http/1.1"}, "http/1.1", get, "HTTP/1.1 200"},
		{"a challenge", []string{"acme-tls/1"}, []string{"acme-tls/1"}, "acme-tls/1", get, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conf := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: tt.server}
			s, _, _ := start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), &server.Options{TLS: conf, Drain: time.Millisecond})
			conn := tls.Client(dial(t, s.Addr().String()), &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: tt.offer, MinVersion: tls.VersionTLS12})
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			if err := conn.Handshake(); err != nil {
				t.Fatal(err)
			}
			if got := conn.ConnectionState().NegotiatedProtocol; got != tt.agreed {
				t.Errorf("agreed on %q, want %q", got, tt.agreed)
			}
			_, _ = io.WriteString(conn, tt.send)
			got := make([]byte, len(tt.want))
			if tt.want == "" {
				got = make([]byte, 1)
			}
			n, err := io.ReadFull(conn, got)
			if string(got[:n]) != tt.want || (err != nil) != (tt.want == "") || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("answer = %q, %v; want %q", got[:n], err, tt.want)
			}
		})
	}
}

// TestTLSOfRequests has handlers see who the client is.
func TestTLSOfRequests(t *testing.T) {
	certificate, roots := certificates(t)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %d %s %s", r.Proto, len(r.TLS.PeerCertificates), r.TLS.NegotiatedProtocol, tls.VersionName(r.TLS.Version))
	})
	conf := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}
	s, _, _ := start(t, h, &server.Options{TLS: conf})
	for proto, want := range map[string]string{"HTTP/1.1": "HTTP/1.1 1  TLS 1.3", "HTTP/2": "HTTP/2.0 1 h2 TLS 1.3"} {
		t.Run(proto, func(t *testing.T) {
			var p http.Protocols
			p.SetHTTP1(true)
			p.SetHTTP2(proto == "HTTP/2")
			tr := &http.Transport{Protocols: &p, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}}
			defer tr.CloseIdleConnections()
			for range 2 { // on one connection
				rsp, err := (&http.Client{Transport: tr}).Do(request(t, "https://"+s.Addr().String(), nil))
				if err != nil {
					t.Fatal(err)
				}
				if b, _ := io.ReadAll(rsp.Body); string(b) != want {
					t.Errorf("the handler saw %q, want %q", b, want)
				}
				rsp.Body.Close()
			}
		})
	}
}

// TestWeakHTTP2 agrees on HTTP/2 with a cipher that it forbids.
func TestWeakHTTP2(t *testing.T) {
	certificate, roots := certificates(t)
	weak := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}
	s, _, _ := start(t, http.NotFoundHandler(), &server.Options{
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, CipherSuites: weak},
	})
	conn := tls.Client(dial(t, s.Addr().String()), &tls.Config{
		RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"},
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: weak,
	})
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn, http2.ClientPreface)
	if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read = %d, %v; want the connection closed", n, err)
	}
}

// TestHTTPToTLS speaks HTTP where TLS is spoken.
func TestHTTPToTLS(t *testing.T) {
	certificate, _ := certificates(t)
	s, _, _ := start(t, http.NotFoundHandler(), &server.Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}})
	for name, want := range map[string]string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n": "400", "nonsense": ""} {
		t.Run(name[:3], func(t *testing.T) {
			conn := dial(t, s.Addr().String())
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.WriteString(conn, name)
			b, err := io.ReadAll(conn)
			if errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(string(b), " 400 ") != (want == "400") {
				t.Errorf("answer = %q, %v; want %q", b, err, want)
			}
		})
	}
}

// TestHandshakeThatNeverEnds bounds it as a header.
func TestHandshakeThatNeverEnds(t *testing.T) {
	certificate, _ := certificates(t)
	s, _, _ := start(t, http.NotFoundHandler(), &server.Options{
		TLS:           &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		HeaderTimeout: 50 * time.Millisecond,
	})
	for name, begun := range map[string]string{"nothing": "", "half a record": "\x16\x03\x01\x01\x00\x01"} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, s.Addr().String())
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.WriteString(conn, begun)
			if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is still open")
			}
		})
	}
}

// TestManyFields sends headers whose fields would take more memory than bytes.
func TestManyFields(t *testing.T) {
	certificate, roots := certificates(t)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, len(r.Header)) })
	fields := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "a%d:\r\n", i)
		}
		return b.String()
	}
	tests := []struct {
		name  string
		sends []string // each when the one before is answered
		want  []int
	}{
		{"as many as there may be", []string{"GET / HTTP/1.1\r\nHost: x\r\n" + fields(19) + "\r\n"}, []int{200}},
		{"one too many", []string{"GET / HTTP/1.1\r\nHost: x\r\n" + fields(20) + "\r\n"}, []int{431}},
		{"far too many", []string{"GET / HTTP/1.1\r\nHost: x\r\n" + fields(8000) + "\r\n"}, []int{431}},
		{"in bare lines", []string{"GET / HTTP/1.1\nHost: x\n" + strings.Repeat("a:\n", 30) + "\n"}, []int{431}},
		{"in the second request", []string{
			"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n" + fields(30) + "\r\n",
		}, []int{200, 431}},
		{"lines of a body", []string{
			"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + strings.Repeat("\n", 5000), "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		}, []int{200, 200}},
	}
	for _, tt := range tests {
		for _, over := range []string{"clear text", "TLS"} {
			t.Run(tt.name+" in "+over, func(t *testing.T) {
				opts := &server.Options{MaxFields: 20}
				if over == "TLS" {
					opts.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
				}
				s, _, _ := start(t, h, opts)
				conn := dial(t, s.Addr().String())
				if over == "TLS" {
					conn = tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12})
				}
				_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
				br := bufio.NewReader(conn)
				for i, send := range tt.sends {
					_, _ = io.WriteString(conn, send)
					rsp, err := http.ReadResponse(br, nil)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, rsp.Body)
					rsp.Body.Close()
					if rsp.StatusCode != tt.want[i] {
						t.Errorf("status of answer %d = %d, want %d", i+1, rsp.StatusCode, tt.want[i])
					}
				}
			})
		}
	}
}
