package ratelimit_test

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/ratelimit"
)

const ms = time.Millisecond

func TestAllow(t *testing.T) {
	type step struct {
		after time.Duration // since the step before
		key   string
		want  ratelimit.Result
	}
	ok := func(limit, remaining int, reset time.Duration) ratelimit.Result {
		return ratelimit.Result{OK: true, Limit: limit, Remaining: remaining, Reset: reset}
	}
	no := func(limit int, reset, retry time.Duration) ratelimit.Result {
		return ratelimit.Result{Limit: limit, Reset: reset, RetryAfter: retry}
	}
	tests := []struct {
		name  string
		rate  ratelimit.Rate
		steps []step
	}{
		{"a burst, then the pace", ratelimit.Rate{Requests: 10, Per: time.Second, Burst: 2}, []step{
			{0, "a", ok(2, 1, 100*ms)},
			{0, "a", ok(2, 0, 200*ms)},
			{0, "a", no(2, 200*ms, 100*ms)},
			{99 * ms, "a", no(2, 101*ms, ms)},
			{ms, "a", ok(2, 0, 200*ms)},
			{300 * ms, "a", ok(2, 1, 100*ms)},
		}},
		{"keys apart", ratelimit.Rate{Requests: 1, Per: time.Minute}, []step{
			{0, "a", ok(1, 0, time.Minute)},
			{0, "a", no(1, time.Minute, time.Minute)},
			{0, "b", ok(1, 0, time.Minute)},
			{time.Minute, "a", ok(1, 0, time.Minute)},
		}},
		{"what is refused costs nothing", ratelimit.Rate{Requests: 1, Per: time.Second}, []step{
			{0, "a", ok(1, 0, time.Second)},
			{500 * ms, "a", no(1, 500*ms, 500*ms)},
			{400 * ms, "a", no(1, 100*ms, 100*ms)},
			{100 * ms, "a", ok(1, 0, time.Second)},
		}},
		{"by default a second, and a burst of as many", ratelimit.Rate{Requests: 2}, []step{
			{0, "a", ok(2, 1, 500*ms)},
			{0, "a", ok(2, 0, time.Second)},
			{0, "a", no(2, time.Second, 500*ms)},
		}},
		{"none at all", ratelimit.Rate{Per: time.Hour}, []step{
			{0, "a", no(0, 0, time.Minute)},
			{time.Hour, "a", no(0, 0, time.Minute)},
		}},
		{"a rate that cannot be", ratelimit.Rate{Requests: 1, Burst: -1}, []step{
			{0, "a", no(0, 0, time.Minute)},
		}},
		{"a clock that goes back", ratelimit.Rate{Requests: 1, Per: time.Second}, []step{
			{0, "a", ok(1, 0, time.Second)},
			{-time.Second, "a", no(1, 2*time.Second, 2*time.Second)},
			{2 * time.Second, "a", ok(1, 0, time.Second)},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, now := ratelimit.NewMemory(tt.rate, nil), time.Now()
			for i, s := range tt.steps {
				now = now.Add(s.after)
				if got := m.Allow(s.key, now); got != s.want {
					t.Fatalf("step %d: Allow(%q) = %+v, want %+v", i, s.key, got, s.want)
				}
			}
		})
	}
}

func TestSpend(t *testing.T) {
	tests := []struct {
		name  string
		spend int
		want  ratelimit.Result // of the next request, of 5 a second
	}{
		{"nothing", 0, ratelimit.Result{OK: true, Limit: 5, Remaining: 4, Reset: 200 * ms}},
		{"less than nothing", -7, ratelimit.Result{OK: true, Limit: 5, Remaining: 4, Reset: 200 * ms}},
		{"some", 3, ratelimit.Result{OK: true, Limit: 5, Remaining: 1, Reset: 800 * ms}},
		{"all", 5, ratelimit.Result{Limit: 5, Reset: time.Second, RetryAfter: 200 * ms}},
		{"more than there is", 7, ratelimit.Result{Limit: 5, Reset: 1400 * ms, RetryAfter: 600 * ms}},
		{"no more than a burst too much", 1 << 40, ratelimit.Result{Limit: 5, Reset: 2 * time.Second, RetryAfter: 1200 * ms}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, now := ratelimit.NewMemory(ratelimit.Rate{Requests: 5}, nil), time.Now()
			m.Spend("a", tt.spend, now)
			m.Spend("b", 5, now)
			if got := m.Allow("a", now); got != tt.want {
				t.Errorf("Allow() after Spend(%d) = %+v, want %+v", tt.spend, got, tt.want)
			}
		})
	}
	t.Run("where nothing passes", func(t *testing.T) {
		m := ratelimit.NewMemory(ratelimit.Rate{}, nil)
		m.Spend("a", 1, time.Now())
		if got := m.Allow("a", time.Now()); got.OK {
			t.Errorf("Allow() = %+v, want a refusal", got)
		}
	})
}

// TestFloodFreesNobody: whoever has used up his share stays so, however many
// other keys come, and how often they come.
func TestFloodFreesNobody(t *testing.T) {
	m := ratelimit.NewMemory(ratelimit.Rate{Requests: 10, Per: time.Hour}, &ratelimit.Options{Keys: 4096})
	now := time.Now()
	const spent = 100
	for i := range spent {
		for range 10 {
			if !m.Allow("spent"+strconv.Itoa(i), now).OK {
				t.Fatal("Allow() of a full bucket is refused")
			}
		}
	}
	for i := range 10 * 4096 {
		if !m.Allow("flood"+strconv.Itoa(i), now).OK {
			t.Fatalf("Allow() of new key %d is refused, want it let through", i)
		}
	}
	free := 0
	for i := range spent {
		if m.Allow("spent"+strconv.Itoa(i), now).OK {
			free++
		}
	}
	if free > 0 {
		t.Errorf("%d of %d spent keys are free after a flood of others", free, spent)
	}
}

// TestFloodTakesNoMemory: what is kept is bounded by Options.Keys, and a key's
// length does not matter.
func TestFloodTakesNoMemory(t *testing.T) {
	const keys = 1 << 14
	m := ratelimit.NewMemory(ratelimit.Rate{Requests: 10, Per: time.Hour}, &ratelimit.Options{Keys: keys})
	now, long := time.Now(), strings.Repeat("k", 1<<10)
	before := heap()
	for i := range 8 * keys {
		m.Allow(long+strconv.Itoa(i), now)
	}
	if got := int64(heap()) - int64(before); got > 64*keys {
		t.Errorf("the heap grew by %d bytes, %d for each key that may be kept; want at most 64", got, got/keys)
	}
	runtime.KeepAlive(m)
}

// TestFullBucketsGoFirst: keys that have nothing to make up for leave their
// place to others without any loss.
func TestFullBucketsGoFirst(t *testing.T) {
	m := ratelimit.NewMemory(ratelimit.Rate{Requests: 1, Per: time.Second}, &ratelimit.Options{Keys: 1 << 12})
	now := time.Now()
	for i := range 1 << 16 { // so that no key finds a place that is free
		m.Allow("before"+strconv.Itoa(i), now)
	}
	now = now.Add(time.Second)
	for i := range 8 {
		m.Allow("now"+strconv.Itoa(i), now)
	}
	refused := 0
	for i := range 8 {
		if !m.Allow("now"+strconv.Itoa(i), now).OK {
			refused++
		}
	}
	if refused != 8 {
		t.Errorf("%d of 8 keys are refused at once after their only request, want all", refused)
	}
}

func TestConcurrentUse(t *testing.T) {
	m := ratelimit.NewMemory(ratelimit.Rate{Requests: 100, Per: time.Hour}, nil)
	now := time.Now()
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				if m.Allow("one", now).OK {
					passed.Add(1)
				}
				m.Spend(strconv.Itoa(i), 1, now)
			}
		})
	}
	wg.Wait()
	if got := passed.Load(); got != 100 {
		t.Errorf("%d requests passed, want 100", got)
	}
}

// FuzzAllow holds the limiter to a bucket that counts what it holds.
func FuzzAllow(f *testing.F) {
	f.Add(uint8(3), uint8(2), []byte{0, 0, 0, 1, 9, 0, 200, 0, 0})
	f.Add(uint8(1), uint8(1), []byte{0, 255, 1, 1, 1})
	f.Fuzz(func(t *testing.T, requests, burst uint8, waits []byte) {
		rate := ratelimit.Rate{Requests: int(requests)%8 + 1, Per: 840 * ms, Burst: int(burst)%16 + 1} // 840 has 1 to 8 as factors
		m, now := ratelimit.NewMemory(rate, nil), time.Now()
		each := rate.Per / time.Duration(rate.Requests)
		full := each * time.Duration(rate.Burst)
		holds := full
		for i, wait := range waits {
			pause := time.Duration(wait) * ms
			now, holds = now.Add(pause), min(full, holds+pause)
			want := ratelimit.Result{OK: holds >= each, Limit: rate.Burst}
			if want.OK {
				holds -= each
			} else {
				want.RetryAfter = each - holds
			}
			want.Remaining, want.Reset = int(holds/each), full-holds
			if got := m.Allow("a", now); got != want {
				t.Fatalf("request %d: Allow() = %+v, want %+v", i, got, want)
			}
		}
	})
}

func ExampleMemory() {
	limiter := ratelimit.NewMemory(ratelimit.Rate{Requests: 60, Per: time.Minute, Burst: 2}, nil)
	now := time.Now()
	for range 3 {
		r := limiter.Allow("192.0.2.1", now)
		fmt.Println(r.OK, r.Remaining, r.RetryAfter)
	}
	// Output:
	// true 1 0s
	// true 0 0s
	// false 0 1s
}

func BenchmarkAllow(b *testing.B) {
	keys := make([]string, 1<<12)
	for i := range keys {
		keys[i] = "198.51.100." + strconv.Itoa(i)
	}
	for _, bb := range []struct {
		name string
		keys int // that may be known
	}{{"known", 1 << 16}, {"flood", 1 << 8}} {
		b.Run(bb.name, func(b *testing.B) {
			m := ratelimit.NewMemory(ratelimit.Rate{Requests: 1000, Per: time.Hour}, &ratelimit.Options{Keys: bb.keys})
			now, i := time.Now(), 0
			b.ReportAllocs()
			for b.Loop() {
				m.Allow(keys[i&(len(keys)-1)], now)
				i++
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		m := ratelimit.NewMemory(ratelimit.Rate{Requests: 1000}, nil)
		now := time.Now()
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				m.Allow(keys[i&(len(keys)-1)], now)
			}
		})
	})
}

// heap returns the bytes that are in use.
func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
