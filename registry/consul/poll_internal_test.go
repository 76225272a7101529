package consul

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReadNames(t *testing.T) {
	tests := []struct {
		name, a, b string
		same       bool
	}{
		{"another order", `{"a":["x","y,z"]}`, `{"a":["y,z","x"]}`, true},
		{"other white space", `{"a":["x","y"]}`, "{\n  \"a\": [\n    \"y\",\n    \"x\"\n  ]\n}", true},
		{"no tags", `{"a":[]}`, `{"a":[ ]}`, true},
		{"the servers of Consul", `{"consul":["x"]}`, `{}`, true},
		{"another tag", `{"a":["x"]}`, `{"a":["z"]}`, false},
		{"a tag more", `{"a":["x"]}`, `{"a":["x","y"]}`, false},
		{"a tag of another", `{"a":["x"],"b":[]}`, `{"a":[],"b":["x"]}`, false},
		{"another name", `{"a":[]}`, `{"A":[]}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, errA := readNames([]byte(tt.a))
			b, errB := readNames([]byte(tt.b))
			if errA != nil || errB != nil || maps.Equal(a, b) != tt.same {
				t.Errorf("readNames() = %v, %v and %v, %v, want the same: %t", a, errA, b, errB, tt.same)
			}
		})
	}
	if v, err := readNames([]byte("[]")); err == nil {
		t.Errorf("readNames() of a list = %v, want an error", v)
	}
}

func TestDiff(t *testing.T) {
	before, err := readChecks([]byte(`[{"Node":"n","CheckID":"serfHealth","ModifyIndex":1},
		{"Node":"n","CheckID":"a","ServiceName":"stays","ModifyIndex":2},
		{"Node":"n","CheckID":"b","ServiceName":"changes","ModifyIndex":3},
		{"Node":"n","CheckID":"c","ServiceName":"goes","ModifyIndex":4}]`))
	if err != nil {
		t.Fatal(err)
	}
	after, err := readChecks([]byte(`[{"Node":"n","CheckID":"serfHealth","ModifyIndex":9},
		{"Node":"n","CheckID":"a","ServiceName":"stays","ModifyIndex":2},
		{"Node":"n","CheckID":"b","ServiceName":"changes","ModifyIndex":8},
		{"Node":"n2","CheckID":"c","ServiceName":"comes","ModifyIndex":7}]`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	after.diff(before, func(th thing) { got = append(got, th.service+" on "+th.node) })
	slices.Sort(got)
	if want := []string{" on n", "changes on n", "comes on n2", "goes on n"}; !slices.Equal(got, want) {
		t.Errorf("diff() = %q, want %q", got, want)
	}
}

// BenchmarkReadChecks guards what a look at all checks costs: those of a
// thousand services.
func BenchmarkReadChecks(b *testing.B) {
	var list []string
	tag := strings.Repeat("789cca49", 40)
	for i := range 1000 {
		list = append(list, fmt.Sprintf(`{"Node":"node-1","CheckID":"service:s-%d","Status":"passing","ServiceName":"s-%d","ServiceTags":["e-%s","e-%s","e-%s","e-%s"],"ModifyIndex":%d}`, i, i, tag, tag, tag, tag, i))
	}
	data := []byte("[" + strings.Join(list, ",") + "]")
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readChecks(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadNames guards what a look at all names costs.
func BenchmarkReadNames(b *testing.B) {
	var list []string
	tag := strings.Repeat("789cca49", 40)
	for i := range 1000 {
		list = append(list, fmt.Sprintf(`"s-%d":["e-%s","e-%s","e-%s","e-%s"]`, i, tag, tag, tag, tag))
	}
	data := []byte("{" + strings.Join(list, ",") + "}")
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readNames(data); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRest: what is large is asked for seldom, and sooner when it is needed.
func TestRest(t *testing.T) {
	const thousand = 1_500_000 // bytes, of so many services
	tests := []struct {
		name       string
		size       int
		blocks     bool
		later, now time.Duration // when the answer is wanted; 0 for never
		want       time.Duration
	}{
		{"small, and blocks", 0, true, 0, 0, leastPace},
		{"large, and blocks", thousand, true, 0, 0, 1800 * time.Millisecond},
		{"small, wanted later", 0, false, time.Second, 0, time.Second},
		{"large, wanted later", thousand, false, time.Second, 0, 2800 * time.Millisecond},
		{"large, wanted at once", thousand, false, 0, time.Millisecond, 455 * time.Millisecond},
		{"large, wanted later and then at once", thousand, false, time.Second, 2 * time.Second, 2 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := wanted{make(chan struct{}, 1), make(chan struct{}, 1)}
				p := poll{wanted: &w}
				if tt.blocks {
					p.wanted = nil
				}
				if tt.now > 0 {
					time.AfterFunc(tt.now, func() { put(w.now) })
				}
				if tt.later > 0 {
					time.AfterFunc(tt.later, func() { put(w.later) })
				}
				begun := time.Now()
				p.rest(t.Context(), begun, time.Duration(tt.size)*perByte)
				if got := time.Since(begun); got != tt.want {
					t.Errorf("rest() took %v, want %v", got, tt.want)
				}
			})
		})
	}
}
