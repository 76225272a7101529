package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestBare(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		io.WriteString(w, r.Method+" "+r.URL.Path+" "+string(body)+" for "+r.Header.Get("X-Forwarded-For"))
	}))
	defer origin.Close()
	to, err := url.Parse(origin.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, pool := range []bool{false, true} {
		h := bare(to, pool)
		for range 2 { // the second has the buffer of the first
			w := httptest.NewRecorder()
			r := httptest.NewRequest("POST", "/post", strings.NewReader("hello"))
			h.ServeHTTP(w, r)
			if got, want := w.Body.String(), "POST /post hello for 192.0.2.1"; w.Code != 200 || got != want {
				t.Errorf("bare, pool %v = %d %q, want 200 %q", pool, w.Code, got, want)
			}
		}
	}
}

func TestProxyTable(t *testing.T) {
	of := func(cpu ...float64) map[string]*series {
		results := map[string]*series{}
		for _, w := range workloads() {
			results[w.name] = &series{cpu: cpu, rate: []float64{1000, 3000, 2000}}
		}
		return results
	}
	var out bytes.Buffer
	(&proxyBench{rounds: 3, connections: 8, duration: 3e9}).print(&out, []*bench{
		{peer: peer{name: "ours"}, results: of(20, 33, 60)},
		{peer: peer{name: baseline}, results: of(40, 30, 50)},
	})
	for _, want := range []string{
		"3 rounds of 3s, 8 connections",
		"| GET, 1 KiB | CPU µs/request |",
		"| ours | 33.0 | 20.0–60.0 | 1.10 | 0.50–1.20 | 2000 |",
		"| httputil.ReverseProxy | 40.0 | 30.0–50.0 | 1.00 | 1.00–1.00 | 2000 |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("print = %s\nwant %q in it", out.String(), want)
		}
	}
}

func TestPeersHaveABaseline(t *testing.T) {
	for _, p := range peers() {
		if p.name == baseline {
			return
		}
	}
	t.Errorf("no peer is called %q", baseline)
}
