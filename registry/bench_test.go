package registry_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

// BenchmarkRecordsServices guards the cost of one node of one service among
// 10,000 that changes.
func BenchmarkRecordsServices(b *testing.B) {
	r, values := manyRecords(b, 10_000)
	r.Services()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		put(b, r, "service-05000", values[i%2])
		r.Services()
	}
}

// BenchmarkRecordsServicesUnchanged guards a renewal.
func BenchmarkRecordsServicesUnchanged(b *testing.B) {
	r, values := manyRecords(b, 10_000)
	put(b, r, "service-05000", values[0])
	b.ReportAllocs()
	for b.Loop() {
		put(b, r, "service-05000", values[0])
		r.Services()
	}
}

// BenchmarkRecordsPut guards the start: 10,000 services read at once.
func BenchmarkRecordsPut(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		r, _ := manyRecords(b, 10_000)
		r.Services()
	}
}

// BenchmarkRecordsStart guards the same where each of 10,000 services has
// endpoints of its own and three nodes that announce them.
func BenchmarkRecordsStart(b *testing.B) {
	values := deployed(b, 10_000, 3)
	b.ReportAllocs()
	for b.Loop() {
		var r registry.Records
		for i, value := range values {
			put(b, &r, strconv.Itoa(i), value)
		}
		r.Services()
	}
}

// deployed returns the records of n services, each with its own endpoints, and
// the same of all its nodes.
func deployed(b *testing.B, n, nodes int) []string {
	b.Helper()
	captured := string(capture(b, "v6-greeter.json"))
	var values []string
	for i := range n {
		name := fmt.Sprintf("service-%05d", i)
		own := strings.NewReplacer("greeter", name, "/echo", "/"+name, "Greeter.", name+".").Replace(captured)
		for node := range nodes {
			values = append(values, strings.Replace(own, `"id":"`+name+"-", fmt.Sprintf(`"id":"%s-%d`, name, node), 1))
		}
	}
	return values
}

// BenchmarkDiff guards finding one change among 10,000 services.
func BenchmarkDiff(b *testing.B) {
	r, values := manyRecords(b, 10_000)
	before := r.Services()
	put(b, r, "service-05000", values[0])
	after := r.Services()
	b.ReportAllocs()
	for b.Loop() {
		if got := registry.Diff(before, after); len(got) != 1 {
			b.Fatalf("Diff() = %d changes, want 1", len(got))
		}
	}
}

// BenchmarkDiffOfMulti guards the same in the state of two registries.
func BenchmarkDiffOfMulti(b *testing.B) {
	r, values := manyRecords(b, 10_000)
	before := slices.Concat(r.Services(), r.Services())
	put(b, r, "service-05000", values[0])
	after := slices.Concat(r.Services(), r.Services())
	b.ReportAllocs()
	for b.Loop() {
		if got := registry.Diff(before, after); len(got) != 1 {
			b.Fatalf("Diff() = %d changes, want 1", len(got))
		}
	}
}

// BenchmarkMulti guards one change in the first of two registries that have
// the same 10,000 services.
func BenchmarkMulti(b *testing.B) {
	r, values := manyRecords(b, 10_000)
	feeds := []*feed{newFeed(), newFeed()}
	for _, f := range feeds {
		f.say(r.Services())
	}
	w := watch(b, multi(feeds[0], feeds[1]))
	next(b, w)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		put(b, r, "service-05000", values[i%2])
		feeds[0].say(r.Services())
		next(b, w)
	}
}

// manyRecords returns n services of one node each, with the endpoints of a real
// one, and two other values for service-05000.
func manyRecords(b *testing.B, n int) (*registry.Records, [2]string) {
	b.Helper()
	captured := capture(b, "v6-greeter.json")
	value := func(i int, deploy string) string {
		data := bytes.ReplaceAll(captured, []byte("greeter"), fmt.Appendf(nil, "service-%05d", i))
		return string(bytes.Replace(data, []byte("latest"), []byte(deploy), 1))
	}
	r := new(registry.Records)
	for i := range n {
		put(b, r, fmt.Sprintf("service-%05d", i), value(i, "latest"))
	}
	return r, [2]string{value(5000, "blue"), value(5000, "green")}
}
