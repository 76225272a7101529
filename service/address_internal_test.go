package service

import (
	"net"
	"testing"
)

func TestAdvertised(t *testing.T) {
	tests := []struct {
		name, advertise, listening string
		want                       string
	}{
		{"as listened on", "", "127.0.0.1:9000", "127.0.0.1:9000"},
		{"IPv6", "", "[::1]:9000", "[::1]:9000"},
		{"host", "greeter.internal", "0.0.0.0:9000", "greeter.internal:9000"},
		{"host and port", "greeter.internal:80", "0.0.0.0:9000", "greeter.internal:80"},
		{"IPv6 host", "fd00::1", "[::]:9000", "[fd00::1]:9000"},
		{"IPv6 host in brackets", "[fd00::1]", "[::]:9000", "[fd00::1]:9000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			listening, err := net.ResolveTCPAddr("tcp", tt.listening)
			if err != nil {
				t.Fatal(err)
			}
			got, err := advertised(tt.advertise, listening)
			if err != nil || got != tt.want {
				t.Errorf("advertised = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
	if got, err := advertised("", &net.UnixAddr{Name: "socket"}); err == nil {
		t.Errorf("advertised of a socket = %q, want an error", got)
	}
	got, err := advertised("", &net.TCPAddr{IP: net.IPv4zero, Port: 9000})
	if host, _, e := net.SplitHostPort(got); err != nil || e != nil || net.ParseIP(host).IsUnspecified() {
		t.Errorf("advertised of every address = %q, %v, want one of them", got, err)
	}
}

func TestReachable(t *testing.T) {
	network := func(s string) net.Addr {
		ip, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		return &net.IPNet{IP: ip, Mask: n.Mask}
	}
	tests := []struct {
		name string
		in   []net.Addr
		want string
	}{
		{"none", nil, "127.0.0.1"},
		{"loopback", []net.Addr{network("127.0.0.1/8"), network("::1/128")}, "127.0.0.1"},
		{"link-local", []net.Addr{network("169.254.1.1/16"), network("fe80::1/64")}, "127.0.0.1"},
		{"IPv4 before IPv6", []net.Addr{network("127.0.0.1/8"), network("fd00::1/64"), network("10.0.0.5/24")}, "10.0.0.5"},
		{"IPv6", []net.Addr{network("127.0.0.1/8"), network("fd00::1/64")}, "fd00::1"},
		{"another kind", []net.Addr{&net.UnixAddr{Name: "x"}}, "127.0.0.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := reachable(tt.in); got != tt.want {
				t.Errorf("reachable = %s, want %s", got, tt.want)
			}
		})
	}
}
