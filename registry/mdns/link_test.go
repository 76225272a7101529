package mdns

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestSender(t *testing.T) {
	tests := []struct {
		name, addr string
		index      int
		want       bool
	}{
		{"on the link", "192.0.2.9", 2, true},
		{"on the link, which the system does not tell", "192.0.2.9", 0, true},
		{"in IPv6 form", "::ffff:192.0.2.9", 2, true},
		{"on the IPv6 link", "fd00::9", 2, true},
		{"link-local", "fe80::9%eth0", 2, true},
		{"link-local on an interface not in use", "fe80::9%eth1", 3, false},
		{"this machine", "192.0.2.2", 2, true},
		{"this machine over the loopback", "192.0.2.2", 1, true},
		{"the loopback", "127.0.0.1", 1, true},
		{"another network", "198.51.100.1", 2, false},
		{"another IPv6 network", "2001:db8::1", 2, false},
		{"over an interface not in use", "192.0.2.9", 3, false},
		{"nobody", "0.0.0.0", 2, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, got := machine().sender(netip.MustParseAddr(tt.addr), tt.index); got != tt.want {
				t.Errorf("sender(%s, %d) = %t, want %t", tt.addr, tt.index, got, tt.want)
			}
		})
	}
	if _, ok := new(links).sender(netip.MustParseAddr("127.0.0.1"), 1); ok {
		t.Error("sender(127.0.0.1) without an interface = true, want false")
	}
}

func TestTakes(t *testing.T) {
	tests := []struct {
		name, from, addr string
		want             bool
	}{
		{"itself", "192.0.2.9", "192.0.2.9", true},
		{"another on the link", "192.0.2.9", "192.0.2.10", true},
		{"an IPv4 node, by IPv6", "fe80::9", "192.0.2.9", true},
		{"another network", "192.0.2.9", "198.51.100.1", false},
		{"this machine, by another", "192.0.2.9", "192.0.2.2", false},
		{"the loopback, by another", "192.0.2.9", "127.0.0.1", false},
		{"the loopback, by this machine", "192.0.2.2", "127.0.0.1", true},
		{"this machine, by the loopback", "127.0.0.1", "192.0.2.2", true},
		{"another network, by this machine", "192.0.2.2", "198.51.100.1", false},
		{"link-local", "fe80::9", "fe80::9", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reason := from(t, tt.from).takes(netip.MustParseAddr(tt.addr))
			if got := reason == ""; got != tt.want {
				t.Errorf("takes(%s) from %s = %q, want it to be taken: %t", tt.addr, tt.from, reason, tt.want)
			}
		})
	}
}

func TestWanted(t *testing.T) {
	prefixes := func(list ...string) []netip.Prefix {
		var p []netip.Prefix
		for _, s := range list {
			p = append(p, netip.MustParsePrefix(s))
		}
		return p
	}
	tests := []struct {
		name     string
		flags    net.Flags
		prefixes []netip.Prefix
		names    []string
		want     bool
	}{
		{"a network", net.FlagUp | net.FlagMulticast, prefixes("192.0.2.2/24"), nil, true},
		{"the loopback", net.FlagUp | net.FlagLoopback, prefixes("127.0.0.1/8"), nil, true},
		{"down", net.FlagMulticast, prefixes("192.0.2.2/24"), nil, false},
		{"without multicast", net.FlagUp, prefixes("192.0.2.2/24"), nil, false},
		{"without an address", net.FlagUp | net.FlagMulticast, nil, nil, false},
		{"with a link-local address only", net.FlagUp | net.FlagMulticast, prefixes("fe80::1/64"), nil, false},
		{"chosen", net.FlagUp | net.FlagMulticast, prefixes("fe80::1/64"), []string{"eth1", "eth0"}, true},
		{"not chosen", net.FlagUp | net.FlagMulticast, prefixes("192.0.2.2/24"), []string{"eth1"}, false},
		{"chosen, and down", net.FlagMulticast, prefixes("192.0.2.2/24"), []string{"eth0"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := wanted(net.Interface{Name: "eth0", Flags: tt.flags}, tt.prefixes, tt.names); got != tt.want {
				t.Errorf("wanted = %t, want %t", got, tt.want)
			}
		})
	}
}

func TestBudget(t *testing.T) {
	now := time.Unix(0, 0)
	b := budget{rate: 10, burst: 5}
	taken := 0
	for range 100 {
		if b.take(now, 1) {
			taken++
		}
	}
	if taken != 5 {
		t.Errorf("took %d at once, want 5", taken)
	}
	if b.take(now.Add(-time.Hour), 1) {
		t.Error("took one when the clock went back")
	}
	if !b.take(now.Add(time.Hour), 5) || b.take(now.Add(time.Hour), 1) {
		t.Error("want 5 after an hour, and no more")
	}
}
