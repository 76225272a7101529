package handler_test

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// BenchmarkStream guards what a message costs on its way, there and back.
func BenchmarkStream(b *testing.B) {
	url := serveStreams(b, memory{serve: echoes}, streamRoute(), nil)
	for name, size := range map[string]int{"100 B": 100, "10 KiB": 10 << 10} {
		b.Run(name, func(b *testing.B) {
			conn := openSocket(b, url)
			msg := []byte(`"` + strings.Repeat("x", size-2) + `"`)
			b.ReportAllocs()
			for b.Loop() {
				if err := conn.Write(context.Background(), websocket.MessageText, msg); err != nil {
					b.Fatal(err)
				}
				if _, _, err := conn.Read(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpenStreams guards what an open WebSocket holds: goroutines, and
// bytes of heap and stacks. The client's side and the service are in the figure.
func BenchmarkOpenStreams(b *testing.B) {
	const n = 500
	url := serveStreams(b, memory{serve: echoes}, streamRoute(), nil)
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		goroutines := runtime.NumGoroutine()
		conns := make([]*websocket.Conn, n)
		for i := range conns {
			conns[i] = openSocket(b, url)
			writeText(b, conns[i], "1")
			nextFrame(b, conns[i])
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/n/1024, "KiB/stream")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/n, "goroutines/stream")
		for _, c := range conns {
			_ = c.CloseNow()
		}
	}
}
