package upstream_test

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// with returns a node with metadata, given as keys and values.
func with(id string, metadata ...string) *registry.Node {
	n := node(id, "h-"+id+":80")
	n.Metadata = make(map[string]string)
	for i := 0; i < len(metadata); i += 2 {
		n.Metadata[metadata[i]] = metadata[i+1]
	}
	return n
}

// serve makes n requests of a kind to a Set, and returns how many each node got
// and how many failed.
func serve(t *testing.T, set *upstream.Set, n int, call upstream.Call) (got map[string]int, failed int) {
	t.Helper()
	f := &fleet{}
	for range n {
		if set.Do(t.Context(), call, f.attempt) != nil {
			failed++
		}
	}
	return f.tries, failed
}

// about says that got is want, give or take what chance does.
func about(got, want int) bool {
	return math.Abs(float64(got-want)) <= 5*math.Sqrt(float64(want))
}

func TestWeight(t *testing.T) {
	tests := []struct {
		name    string
		weights []string // "-" for none
		want    []int    // of 10000
	}{
		{"none", []string{"-", "-"}, []int{5000, 5000}},
		{"one to nine", []string{"1", "9"}, []int{1000, 9000}},
		{"beside none", []string{"3", "-"}, []int{7500, 2500}},
		{"fractions", []string{"0.5", "-", "-", "-"}, []int{1429, 2857, 2857, 2857}},
		{"all equal", []string{"7", "7"}, []int{5000, 5000}},
		{"drained", []string{"0", "-", "-"}, []int{0, 5000, 5000}},
		{"drained and weighted", []string{"0", "1", "3"}, []int{0, 2500, 7500}},
		{"all drained", []string{"0", "0"}, []int{5000, 5000}},
		{"far apart", []string{"1000", "1"}, []int{9990, 10}},
		{"malformed", []string{"x", "-1", "NaN", "1001"}, []int{2500, 2500, 2500, 2500}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var list []*registry.Node
				for i, w := range tt.weights {
					n := with(fmt.Sprint(i))
					if w != "-" {
						n.Metadata["weight"] = w
					}
					list = append(list, n)
				}
				set := upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", list...)}).All()
				got, failed := serve(t, set, 10_000, upstream.Call{})
				for i, want := range tt.want {
					if !about(got[fmt.Sprint(i)], want) {
						t.Errorf("node %d got %d of 10000 requests, want about %d", i, got[fmt.Sprint(i)], want)
					}
				}
				if failed != 0 {
					t.Errorf("%d requests failed", failed)
				}
			})
		})
	}
}

func TestWeightIsNotOverruledByLatency(t *testing.T) { // unless one is twice as slow
	synctest.Test(t, func(t *testing.T) {
		set := upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", with("1", "weight", "1"), with("2", "weight", "3"))}).All()
		f := &fleet{does: attempts{"1": takes(15 * ms), "2": takes(10 * ms)}}
		requests(t, 4000, set, f)
		if got := f.count("1"); !about(got, 1000) {
			t.Errorf("a node of weight 1 beside a faster one of 3 got %d of 4000 requests, want about 1000", got)
		}
	})
}

// An idle node gets its weight however slow it is.
func TestWeightOfIdleNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", with("1", "weight", "9"), with("2", "weight", "1"))}).All()
		f := &fleet{does: attempts{"1": takes(6 * ms), "2": takes(ms / 2)}}
		for range 1000 {
			if err := set.Do(t.Context(), upstream.Call{}, f.attempt); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.count("2"); !about(got, 100) {
			t.Errorf("a fast node of weight 1 beside a slow one of 9 got %d of 1000 requests, want about 100", got)
		}
	})
}

func TestWeightUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", with("1", "weight", "1"), with("2", "weight", "4"))}).All()
		f := &fleet{does: attempts{"1": takes(10 * ms), "2": takes(10 * ms)}}
		load(t, 100, set, f)
		if got := f.count("1"); got < 400 || got > 800 {
			t.Errorf("a node of weight 1 beside one of 4 got %d of 3000 requests, want about 600", got)
		}
	})
}

func TestWeightFollowsUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pools := upstream.NewPools(nil)
		set := pools.Update("greeter", []*registry.Service{service("1", with("1"), with("2"))}).All()
		pools.Update("greeter", []*registry.Service{service("1", with("1", "weight", "0"), with("2"))})
		if got, _ := serve(t, set, 100, upstream.Call{}); got["1"] != 0 {
			t.Errorf("a node that is drained got %d requests, want none", got["1"])
		}
		pools.Update("greeter", []*registry.Service{service("1", with("1"), with("2"))})
		if got, _ := serve(t, set, 1000, upstream.Call{}); !about(got["1"], 500) {
			t.Errorf("a node that is drained no more got %d of 1000 requests, want about 500", got["1"])
		}
	})
}

func TestTraffic(t *testing.T) {
	plain, plain2 := with("plain"), with("plain2")
	canary, tenth := with("canary", "canary", "true"), with("tenth", "canary", "10%")
	acme := with("acme", "match", "x-tenant: acme")
	both := with("both", "match", "X-Tenant:acme", "canary", "50")
	drained := with("drained", "match", "X-Tenant:acme", "weight", "0")
	asks := http.Header{"X-Canary": {"true"}}
	tenant := http.Header{"X-Tenant": {"other", "acme"}}
	tests := []struct {
		name   string
		nodes  []*registry.Node
		header http.Header
		want   map[string]int // of 1000
		failed int
	}{
		{"nothing asked", []*registry.Node{canary, plain, acme, plain2}, nil, map[string]int{"plain": 500, "plain2": 500}, 0},
		{"a canary", []*registry.Node{plain, canary}, asks, map[string]int{"canary": 1000}, 0},
		{"a canary that is not there", []*registry.Node{plain}, asks, map[string]int{"plain": 1000}, 0},
		{"a canary by chance", []*registry.Node{plain, tenth}, nil, map[string]int{"plain": 900, "tenth": 100}, 0},
		{"several, by chance", []*registry.Node{plain, canary, tenth}, nil, map[string]int{"plain": 900, "canary": 50, "tenth": 50}, 0},
		{"no canary", []*registry.Node{plain, tenth}, http.Header{"X-Canary": {"false"}}, map[string]int{"plain": 1000}, 0},
		{"what means nothing", []*registry.Node{plain, canary}, http.Header{"X-Canary": {"yes"}}, map[string]int{"plain": 1000}, 0},
		{"a header", []*registry.Node{plain, acme}, tenant, map[string]int{"acme": 1000}, 0},
		{"a header, not a canary", []*registry.Node{plain, canary, acme}, http.Header{"X-Canary": {"true"}, "X-Tenant": {"acme"}}, map[string]int{"acme": 1000}, 0},
		{"another value", []*registry.Node{plain, acme}, http.Header{"X-Tenant": {"Acme"}}, map[string]int{"plain": 1000}, 0},
		{"header before canary", []*registry.Node{plain, both}, asks, map[string]int{"plain": 1000}, 0},
		{"all of one kind", []*registry.Node{both, acme, drained}, tenant, map[string]int{"both": 500, "acme": 500}, 0},
		{"drained, the only one", []*registry.Node{plain, drained}, tenant, map[string]int{"drained": 1000}, 0},
		{"no plain node", []*registry.Node{canary, acme}, nil, nil, 1000},
		{"no plain node, asked", []*registry.Node{canary, acme}, asks, map[string]int{"canary": 1000}, 0},
		{"not true", []*registry.Node{with("not", "canary", "false"), plain}, nil, map[string]int{"plain": 500, "not": 500}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // or it would matter what is how fast
				set := upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", tt.nodes...)}).All()
				got, failed := serve(t, set, 1000, upstream.Call{Header: tt.header})
				if failed != tt.failed {
					t.Errorf("%d of 1000 requests failed, want %d", failed, tt.failed)
				}
				for id, n := range got {
					if want := tt.want[id]; n != want && (want == 0 || want == 1000 || !about(n, want)) {
						t.Errorf("node %s got %d of 1000 requests, want about %d", id, n, want)
					}
				}
			})
		})
	}
}

func TestCanaryThatFailsCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", with("plain"), with("canary", "canary", "true"))}).All()
		f := &fleet{does: attempts{"canary": refuse}}
		for range 100 {
			if err := set.Do(t.Context(), upstream.Call{Header: http.Header{"X-Canary": {"true"}}}, f.attempt); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.count("canary"); got != 1 {
			t.Errorf("a canary that refuses was tried %d times, want once: it is ejected", got)
		}
	})
}

func TestBadTraitsAreReported(t *testing.T) {
	tests := []struct {
		key, value string
		want       string // "" for none
	}{
		{"weight", "2", ""},
		{"weight", " 0.5 ", ""},
		{"weight", "1000", ""},
		{"weight", "1000.1", `weight is "1000.1", want a number from 0 to 1000`},
		{"weight", "-1", `weight is "-1", want a number from 0 to 1000`},
		{"weight", "", `weight is "", want a number from 0 to 1000`},
		{"weight", "Inf", `weight is "Inf", want a number from 0 to 1000`},
		{"weight", "\x1b[31m", `weight is "\x1b[31m", want a number from 0 to 1000`},
		{"canary", "true", ""},
		{"canary", "false", ""},
		{"canary", "5 %", ""},
		{"canary", "5%", ""},
		{"canary", "100", ""},
		{"canary", "101", `canary is "101", want true, false or a percentage`},
		{"canary", "yes", `canary is "yes", want true, false or a percentage`},
		{"match", "X-A:b", ""},
		{"match", "X-A:b:c", ""},
		{"match", "X-A", `match is "X-A", want Name:value`},
		{"match", "X-A:", `match is "X-A:", want Name:value`},
		{"match", "X A:b", `match is "X A:b", want Name:value`},
		{"match", ":b", `match is ":b", want Name:value`},
		{"match", strings.Repeat("é", 100), `match is "` + strings.Repeat(`\u00e9`, 20) + `", want Name:value`},
	}
	for _, tt := range tests {
		t.Run(tt.key+" "+tt.value, func(t *testing.T) {
			set := upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", with("1", tt.key, tt.value))}).All()
			if got := strings.Join(state(t, set, "1").Ignored, "; "); got != tt.want {
				t.Errorf("Ignored of %s %q = %q, want %q", tt.key, tt.value, got, tt.want)
			}
		})
	}
}

func FuzzTraits(f *testing.F) {
	f.Add("1", "true", "X-Tenant:acme", "X-Tenant", "acme")
	f.Add("0", "10%", "x-a: b", "X-A", "b")
	f.Add("1e3", "-", "::", "", "")
	f.Fuzz(func(t *testing.T, weight, canary, match, name, value string) {
		n := with("1", "weight", weight, "canary", canary, "match", match)
		set := upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", n, with("plain"))}).All()
		st := state(t, set, "1")
		want, err := strconv.ParseFloat(strings.TrimSpace(weight), 64)
		if err != nil || math.IsNaN(want) || want < 0 || want > 1000 {
			want = 1
		}
		if st.Weight != want {
			t.Fatalf("Weight of %q = %v, want %v", weight, st.Weight, want)
		}
		got, failed := serve(t, set, 3, upstream.Call{Header: http.Header{name: {value}}})
		if failed != 0 {
			t.Fatalf("%d of 3 requests failed beside a plain node", failed)
		}
		if len(st.Ignored) == 3 && got["1"]+got["plain"] != 3 {
			t.Fatalf("a node whose metadata means nothing, and a plain one, got %v of 3 requests", got)
		}
	})
}
