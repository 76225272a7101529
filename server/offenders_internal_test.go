package server

import (
	"net/netip"
	"testing"
	"time"
)

func TestOffenders(t *testing.T) {
	var o offenders
	now := time.Unix(1000, 0)
	a, near := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	far, other := netip.MustParseAddr("2001:db8:0:1::1"), netip.MustParseAddr("192.0.2.1")
	if o.has(a, now) {
		t.Error("there is an offender before there was one")
	}
	o.add(a, now)
	for addr, want := range map[netip.Addr]bool{a: true, near: true, far: false, other: false} {
		if got := o.has(addr, now.Add(distrust-1)); got != want {
			t.Errorf("has(%s) = %t, want %t", addr, got, want)
		}
	}
	if o.has(a, now.Add(distrust)) {
		t.Error("an offender is remembered for ever")
	}
}

// TestManyOffenders remembers not all of them.
func TestManyOffenders(t *testing.T) {
	var o offenders
	now := time.Unix(1000, 0)
	for i := range 3 * maxOffenders {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		o.add(a, now)
		if !o.has(a, now) {
			t.Fatalf("the offender that came last, number %d, is not remembered", i)
		}
		if len(o.until) > maxOffenders {
			t.Fatalf("%d offenders are remembered, want at most %d", len(o.until), maxOffenders)
		}
	}
}
