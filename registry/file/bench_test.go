package file_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkChange guards how soon a watcher sees an edit of one service beside a
// thousand others, by a program that replaces the file, and by one that writes
// it in place.
func BenchmarkChange(b *testing.B) {
	for _, others := range []int{0, 1000} {
		b.Run(fmt.Sprintf("replaced/%d", others), func(b *testing.B) {
			benchmarkChange(b, others, func(path string, data []byte) error {
				if err := os.WriteFile(path+".new", data, 0o600); err != nil {
					return err
				}
				return os.Rename(path+".new", path)
			})
		})
		b.Run(fmt.Sprintf("in place/%d", others), func(b *testing.B) {
			benchmarkChange(b, others, func(path string, data []byte) error { return os.WriteFile(path, data, 0o600) })
		})
	}
}

func benchmarkChange(b *testing.B, others int, write func(path string, data []byte) error) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "services.yaml")
	rest := many(others)
	text := func(n int) string {
		return fmt.Sprintf("services:\n  - name: greeter\n    nodes: [\"127.0.0.1:%d\"]\n", 1024+n%50_000) + rest
	}
	save(b, path, text(0))
	w := watch(b, open(b, path, nil))
	next(b, w)
	var took []time.Duration
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		data := []byte(text(n))
		begin := time.Now()
		if err := write(path, data); err != nil {
			b.Fatal(err)
		}
		next(b, w)
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkOpen guards the start with a thousand services.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "services.yaml")
	save(b, path, "services:\n"+many(1000))
	b.ReportAllocs()
	for b.Loop() {
		if err := open(b, path, nil).Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// many returns services of a usual size, in block style.
func many(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "  - name: service-%04d\n    version: \"1\"\n    nodes: [\"127.0.0.1:9000\"]\n    endpoints:\n", i)
		for _, method := range []string{"Hello", "Bye", "List", "Get"} {
			fmt.Fprintf(&text, "      - {name: Greeter.%s, method: [GET], path: \"/s%d/%s/{name}\", handler: rpc}\n", method, i, method)
		}
	}
	return text.String()
}
