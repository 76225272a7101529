package test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// figures are what a load amounts to.
type figures struct {
	requests   int
	failed     []result
	duplicates []string // ids of POST that reached nodes more than once
	p50, p99   time.Duration
	slowest    time.Duration
}

// measure looks at what became of requests, and at what reached nodes.
func measure(results []result, seen map[string]int) figures {
	f := figures{requests: len(results)}
	if len(results) == 0 {
		return f
	}
	took := make([]time.Duration, 0, len(results))
	for _, r := range results {
		took = append(took, r.took())
		if r.err != nil {
			f.failed = append(f.failed, r)
		}
		if r.method == http.MethodPost && seen[r.id] > 1 {
			f.duplicates = append(f.duplicates, r.id)
		}
	}
	slices.Sort(took)
	f.p50, f.p99, f.slowest = quantile(took, 0.5), quantile(took, 0.99), took[len(took)-1]
	return f
}

// quantile returns what the given part of sorted values does not exceed.
func quantile(sorted []time.Duration, part float64) time.Duration {
	n := int(float64(len(sorted))*part+0.999999) - 1 // the least rank that holds the part
	return sorted[min(max(n, 0), len(sorted)-1)]
}

func (f figures) String() string {
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
	return fmt.Sprintf("%d requests, %d failed, %d duplicate POST, p50 %s, p99 %s, slowest %s",
		f.requests, len(f.failed), len(f.duplicates), ms(f.p50), ms(f.p99), ms(f.slowest))
}

// between returns the results of the requests that were due from begin until
// end.
func between(results []result, begin, end time.Time) []result {
	var in []result
	for _, r := range results {
		if !r.due.Before(begin) && r.due.Before(end) {
			in = append(in, r)
		}
	}
	return in
}

// slowness returns how late a machine is that has others to serve: how late
// requests were sent at most, and how long the longest took that were answered
// before a fault. On a machine that is not busy it is some milliseconds.
func slowness(results []result, fault time.Time) time.Duration {
	var late time.Duration
	for _, r := range results {
		late = max(late, r.sent.Sub(r.due))
		if r.err == nil && r.ended.Before(fault) {
			late = max(late, r.took())
		}
	}
	return late
}

// seen counts how often each request reached a node.
func seen(nodes []*node) map[string]int {
	times := make(map[string]int)
	for _, n := range nodes {
		for _, id := range n.requests() {
			times[id]++
		}
	}
	return times
}

// TestJudge shows the judge what it must not overlook.
func TestJudge(t *testing.T) {
	begin := time.Now()
	var results []result
	for i := range 200 {
		due := begin.Add(time.Duration(i) * time.Millisecond)
		r := result{id: fmt.Sprint("web-POST-", i), method: http.MethodPost, due: due, sent: due.Add(time.Duration(i) * time.Microsecond), ended: due.Add(time.Duration(i+1) * time.Millisecond)}
		if i == 7 {
			r.err = http.ErrHandlerTimeout
		}
		results = append(results, r)
	}
	slices.Reverse(results)
	f := measure(results, map[string]int{"web-POST-3": 2, "web-POST-4": 1})
	if len(f.failed) != 1 || f.failed[0].id != "web-POST-7" {
		t.Errorf("failed = %v, want number 7", f.failed)
	}
	if got := strings.Join(f.duplicates, " "); got != "web-POST-3" {
		t.Errorf("duplicates = %s, want number 3", got)
	}
	if f.p50 != 100*time.Millisecond || f.p99 != 198*time.Millisecond || f.slowest != 200*time.Millisecond {
		t.Errorf("of 1 to 200 ms p50 = %v, p99 = %v, slowest = %v", f.p50, f.p99, f.slowest)
	}
	if got := slowness(results, begin); got != 199*time.Microsecond {
		t.Errorf("slowness before anything was answered = %v, want that of the sender, 199µs", got)
	}
	if got := slowness(results, begin.Add(20*time.Millisecond)); got != 10*time.Millisecond { // number 9 ended after 19 ms
		t.Errorf("slowness of what was answered within 20 ms = %v, want 10ms", got)
	}
	if got := len(between(results, begin.Add(10*time.Millisecond), begin.Add(20*time.Millisecond))); got != 10 {
		t.Errorf("between 10 and 20 ms there are %d, want 10", got)
	}
}
