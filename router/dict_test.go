package router

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// TestDict holds a dict against a map, and every older dict against what the
// map was then. Hashes of few bits make keys collide at every depth.
func TestDict(t *testing.T) {
	for _, mask := range []uint64{^uint64(0), 0, 1, 7 << 60, 0x8421} {
		t.Run(fmt.Sprintf("%x", mask), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				h := newHasher()
				h.mask = mask
				var d dict[int]
				want := map[string]int{}
				type version struct {
					dict dict[int]
					want map[string]int
				}
				var versions []version
				for i := range rapid.IntRange(0, 60).Draw(t, "steps") {
					key := fmt.Sprint(rapid.IntRange(0, 40).Draw(t, "key"))
					if rapid.Bool().Draw(t, "set") {
						d = d.set(h, key, i+1)
						want[key] = i + 1
					} else {
						d = d.remove(h, key)
						delete(want, key)
					}
					versions = append(versions, version{d, maps.Clone(want)})
				}
				for _, v := range versions {
					checkDict(t, h, v.dict, v.want)
				}
			})
		})
	}
}

// TestDictEras changes a dict in eras, within which it may change in place, and
// holds what it was at the end of each against what the map was then.
func TestDictEras(t *testing.T) {
	for _, mask := range []uint64{^uint64(0), 0, 1, 0x8421} {
		t.Run(fmt.Sprintf("%x", mask), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				h := newHasher()
				h.mask = mask
				var d dict[int]
				want := map[string]int{}
				type version struct {
					dict dict[int]
					want map[string]int
				}
				var versions []version
				for era := range rapid.IntRange(0, 6).Draw(t, "eras") {
					h.era = uint32(era) // the first is none
					for i := range rapid.IntRange(0, 20).Draw(t, "steps") {
						key := fmt.Sprint(rapid.IntRange(0, 40).Draw(t, "key"))
						if rapid.IntRange(0, 2).Draw(t, "set") > 0 {
							d = d.set(h, key, i+1)
							want[key] = i + 1
						} else {
							d = d.remove(h, key)
							delete(want, key)
						}
					}
					versions = append(versions, version{d, maps.Clone(want)})
				}
				for _, v := range versions {
					checkDict(t, h, v.dict, v.want)
				}
			})
		})
	}
}

func TestDictAllStops(t *testing.T) {
	h := newHasher()
	var d dict[int]
	for i := range 100 {
		d = d.set(h, fmt.Sprint(i), i)
	}
	n := 0
	for range d.all() {
		if n++; n == 7 {
			break
		}
	}
	if n != 7 {
		t.Errorf("all yielded %d keys after a break at 7", n)
	}
}

func checkDict(t *rapid.T, h hasher, d dict[int], want map[string]int) {
	t.Helper()
	if got := maps.Collect(d.all()); !maps.Equal(got, want) {
		t.Fatalf("all() = %v, want %v", got, want)
	}
	if got := d.isEmpty(); got != (len(want) == 0) {
		t.Fatalf("isEmpty() = %v with %d keys", got, len(want))
	}
	for i := range 41 {
		key := fmt.Sprint(i)
		if got := d.get(h, key); got != want[key] {
			t.Fatalf("get(%q) = %d, want %d", key, got, want[key])
		}
	}
}
