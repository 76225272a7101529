package mdns

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// BenchmarkChange guards how soon, and for how much work, a watcher sees a
// change that another registry makes, beside a thousand services of a third.
func BenchmarkChange(b *testing.B) {
	for _, others := range []int{0, 1000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			address := fmt.Sprintf("mdns:?domain=bench%d", others)
			third := open(b, address)
			s := greeter("127.0.0.1:9090")
			for i := range others {
				s.Name, s.Nodes[0].ID = fmt.Sprintf("other-%04d", i), fmt.Sprintf("other-%04d-1", i)
				register(b, third, s)
			}
			announcing, w := open(b, address), watch(b, open(b, address))
			for known := -1; known != others; {
				got, err := w.Next(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				known = len(got)
			}
			s = greeter("127.0.0.1:9090")
			var took []time.Duration
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				s.Nodes[0].Address = fmt.Sprintf("127.0.0.1:%d", 1024+n%50_000)
				begin := time.Now()
				register(b, announcing, s)
				if _, err := w.Next(b.Context()); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkHear guards what an answer costs that says nothing new: one comes
// every few seconds from each node.
func BenchmarkHear(b *testing.B) {
	now := time.Unix(0, 0)
	peer := from(b, "192.0.2.2")
	data := capture(b, "query-service.txt")[1].data
	browsing := newBrowsing(now)
	b.ReportAllocs()
	for b.Loop() {
		browsing.hear(now, parsed(b, data), peer)
	}
}

// BenchmarkDue guards what it costs to look at all services.
func BenchmarkDue(b *testing.B) {
	now := time.Unix(0, 0)
	browsing := newBrowsing(now)
	peer := from(b, "192.0.2.2")
	m := announced(b, "greeter", "greeter-1", "192.0.2.2:1")
	for i := range 1000 {
		e := m.entries[0]
		e.instance = fmt.Sprintf("n%d.greeter.micro.", i)
		e.addrs = []netip.Addr{netip.MustParseAddr("192.0.2.2")}
		browsing.hear(now, &message{entries: []entry{e}}, peer)
		browsing.hearListed(now, fmt.Sprintf("s%d.micro.", i))
	}
	b.ReportAllocs()
	for b.Loop() {
		browsing.due(now)
	}
}
