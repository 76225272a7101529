//go:build unix

package handler_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
)

// BenchmarkBrokerFanOut publishes 100 messages a second to 2,000 clients that
// get server-sent events, each of which measures how long a message was on its
// way. An op is a message to all of them: run it with -benchtime=1000x.
func BenchmarkBrokerFanOut(b *testing.B) {
	const (
		clients = 2000
		gap     = time.Second / 100
	)
	var mem broker.Memory
	url := startBroker(b, &mem, everything())
	late := make([][]time.Duration, clients)
	var wg sync.WaitGroup
	conns := make([]net.Conn, clients)
	for i := range clients {
		conn, br := dialEvents(b, url+"&format=raw")
		conns[i] = conn
		wg.Go(func() { late[i] = measure(br) })
	}
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	tick := time.NewTicker(gap)
	defer tick.Stop()
	before := cpuTime(b)
	for b.Loop() {
		<-tick.C
		publishText(b, &mem, strconv.FormatInt(time.Now().UnixNano(), 10)+" "+strings.Repeat("x", 200))
	}
	publishText(b, &mem, "end")
	wg.Wait()
	spent := cpuTime(b) - before
	all := slices.Concat(late...)
	slices.Sort(all)
	if len(all) != clients*b.N {
		b.Fatalf("clients received %d messages, want %d", len(all), clients*b.N)
	}
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1e3, "p99-ms")
	b.ReportMetric(float64(all[len(all)-1].Microseconds())/1e3, "max-ms")
	b.ReportMetric(100*spent.Seconds()/b.Elapsed().Seconds(), "cpu-%")
}

// dialEvents opens a stream of events on a connection that costs little.
func dialEvents(b *testing.B, url string) (net.Conn, *bufio.Reader) {
	b.Helper()
	host, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	conn, err := new(net.Dialer).DialContext(b.Context(), "tcp", host)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\n\r\n", path, host, asEvents); err != nil {
		b.Fatal(err)
	}
	br := bufio.NewReader(conn)
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != http.StatusOK {
		b.Fatal(err, res)
	}
	return conn, bufio.NewReader(res.Body)
}

// measure returns how old each message was, whose body begins with its time.
func measure(r *bufio.Reader) []time.Duration {
	var list []time.Duration
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return list
		}
		text, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue
		}
		digits, _, _ := bytes.Cut(text, []byte(" "))
		sent, err := strconv.ParseInt(string(digits), 10, 64)
		if err != nil {
			return list // the last one
		}
		list = append(list, time.Since(time.Unix(0, sent)))
	}
}

// BenchmarkBrokerPublish guards what the handler adds to publishing.
func BenchmarkBrokerPublish(b *testing.B) {
	var mem broker.Memory
	h := handler.Broker(&mem, everything())
	b.ReportAllocs()
	for b.Loop() {
		r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "/?topic=orders", strings.NewReader("hello"))
		if err != nil {
			b.Fatal(err)
		}
		r.RemoteAddr = "192.0.2.1:1234"
		h.ServeHTTP(discard{header: http.Header{}}, r)
	}
}
