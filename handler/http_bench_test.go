package handler_test

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/upstream"
)

// BenchmarkHTTP guards what a forwarded request costs the gateway, from its
// server to the connection to the node, beside BenchmarkReverseProxy.
func BenchmarkHTTP(b *testing.B) {
	benchmarkProxy(b, func(service string) http.Handler {
		h := handler.HTTP(nil)
		rt := &goapi.Route{
			Service:  "bench",
			Endpoint: &goapi.Endpoint{Name: "Bench", Handler: "http"},
			Upstream: upstream.Static(service),
		}
		return &goapi.Gateway{Router: always{rt}, Handlers: map[string]http.Handler{"http": h}}
	})
}

// BenchmarkReverseProxy is the bare proxy of the standard library.
func BenchmarkReverseProxy(b *testing.B) {
	benchmarkProxy(b, func(service string) http.Handler {
		rp := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: service})
		rp.Transport = &http.Transport{MaxIdleConnsPerHost: 1 << 10}
		rp.ErrorLog = log.New(io.Discard, "", 0)
		return rp
	})
}

// always is a router of one route.
type always struct{ rt *goapi.Route }

func (a always) Route(*http.Request) (*goapi.Route, error) { return a.rt, nil }

func benchmarkProxy(b *testing.B, proxy func(string) http.Handler) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		size, _ := strconv.Atoi(r.URL.RawQuery)
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = w.Write(make([]byte, size))
	}))
	defer service.Close()
	front := httptest.NewServer(proxy(strings.TrimPrefix(service.URL, "http://")))
	defer front.Close()

	for _, bm := range []struct {
		name, method string
		send, get    int
	}{
		{"GET 1KiB", "GET", 0, 1 << 10},
		{"POST 1KiB", "POST", 1 << 10, 1 << 10},
		{"GET 100KiB", "GET", 0, 100 << 10},
	} {
		b.Run(bm.name, func(b *testing.B) {
			var head bytes.Buffer
			req, err := http.NewRequestWithContext(context.Background(), bm.method, front.URL+"/x?"+strconv.Itoa(bm.get), bytes.NewReader(make([]byte, bm.send)))
			if err != nil {
				b.Fatal(err)
			}
			req.Header.Set("User-Agent", "bench")
			req.Header.Set("Accept", "*/*")
			if err := req.Write(&head); err != nil {
				b.Fatal(err)
			}
			c, err := net.Dial("tcp", front.Listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			buf := make([]byte, 64<<10)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(head.Bytes()); err != nil {
					b.Fatal(err)
				}
				readAnswer(b, c, buf, bm.get)
			}
		})
	}
}

// readAnswer reads an answer with a body of size bytes.
func readAnswer(b *testing.B, c net.Conn, buf []byte, size int) {
	n, end := 0, -1
	for end < 0 || n < end {
		m, err := c.Read(buf[min(n, 32<<10):])
		if err != nil {
			b.Fatal(err)
		}
		if end < 0 {
			i := bytes.Index(buf[:n+m], []byte("\r\n\r\n"))
			if i < 0 {
				b.Fatalf("no head in %d bytes", n+m)
			}
			end = i + 4 + size
		}
		n += m
	}
}
