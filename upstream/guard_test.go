package upstream_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/goapi-dev/goapi/upstream"
)

func TestGuardCheck(t *testing.T) {
	listeners := []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:8081"),
		netip.MustParseAddrPort("[::1]:8082"),
		netip.MustParseAddrPort("0.0.0.0:4222"),
		netip.MustParseAddrPort("[::]:8080"),
		netip.MustParseAddrPort("192.0.2.1:8083"),
	}
	tests := []struct {
		address string
		ok      bool
	}{
		{"10.0.0.1:80", true},
		{"127.0.0.1:80", true},
		{"[2001:db8::1]:80", true},
		{"[::1]:80", true},
		{"0.0.0.0:80", true}, // loopback

		{"169.254.169.254:80", false},
		{"[::ffff:169.254.169.254]:80", false},
		{"[fe80::1]:80", false},
		{"[fe80::1%eth0]:80", false},
		{"224.0.0.251:5353", false},
		{"[ff02::fb]:5353", false},
		{"[ff05::1]:80", false},

		{"127.0.0.1:8081", false},
		{"[::ffff:127.0.0.1]:8081", false},
		{"0.0.0.0:8081", false},
		{"127.0.0.2:8081", true},
		{"10.0.0.1:8081", true},
		{"[::1]:8081", true},

		{"[::1]:8082", false},
		{"[::]:8082", false},
		{"127.0.0.1:8082", true},

		{"127.0.0.1:4222", false},
		{"127.1.2.3:4222", false},
		{"0.0.0.0:4222", false},
		{"[::1]:4222", true}, // the listener is for IPv4 alone
		{"192.0.2.7:4222", true},

		{"127.0.0.1:8080", false},
		{"[::1]:8080", false},
		{"[::]:8080", false},
		{"192.0.2.7:8080", true},

		{"192.0.2.1:8083", false},
		{"192.0.2.2:8083", true},
		{"0.0.0.0:8083", true},
	}
	guard := &upstream.Guard{Listeners: listeners}
	for _, tt := range tests {
		t.Run(tt.address, func(t *testing.T) {
			err := guard.Check(netip.MustParseAddrPort(tt.address))
			if tt.ok && err != nil || !tt.ok && !errors.Is(err, upstream.ErrForbiddenAddress) {
				t.Errorf("Check = %v, want allowed %t", err, tt.ok)
			}
			if again := guard.Control(t.Context(), "tcp", tt.address, nil); (again == nil) != tt.ok {
				t.Errorf("Control = %v, want allowed %t", again, tt.ok)
			}
		})
	}
}

func TestGuardKnowsTheAddressesOfTheMachine(t *testing.T) {
	guard := &upstream.Guard{Listeners: []netip.AddrPort{netip.MustParseAddrPort("[::]:8080")}}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.(*net.IPNet).IP)
		if !ok {
			t.Fatalf("no IP in %v", a)
		}
		if err := guard.Check(netip.AddrPortFrom(ip, 8080)); !errors.Is(err, upstream.ErrForbiddenAddress) {
			t.Errorf("Check(%s) = %v, want ErrForbiddenAddress", ip, err)
		}
	}
}

func TestGuardWithoutListeners(t *testing.T) {
	var guard *upstream.Guard
	if err := guard.Check(netip.MustParseAddrPort("127.0.0.1:8080")); err != nil {
		t.Errorf("Check = %v, want nil", err)
	}
	for _, ap := range []netip.AddrPort{{}, netip.MustParseAddrPort("169.254.1.1:80")} {
		if err := guard.Check(ap); !errors.Is(err, upstream.ErrForbiddenAddress) {
			t.Errorf("Check(%v) = %v, want ErrForbiddenAddress", ap, err)
		}
	}
	for _, address := range []string{"", "localhost:80", "10.0.0.1", "/run/socket"} {
		if err := guard.Control(t.Context(), "tcp", address, nil); !errors.Is(err, upstream.ErrForbiddenAddress) {
			t.Errorf("Control(%q) = %v, want ErrForbiddenAddress", address, err)
		}
	}
}

func TestGuardKeepsADiallerAway(t *testing.T) {
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	own := netip.MustParseAddrPort(ln.Addr().String())
	anywhere := netip.AddrPortFrom(netip.IPv4Unspecified(), own.Port())
	tests := []struct {
		name  string
		guard *upstream.Guard
		ok    bool
	}{
		{"a stranger's listener", &upstream.Guard{}, true},
		{"the gateway's own", &upstream.Guard{Listeners: []netip.AddrPort{own}}, false},
		{"the gateway's own, anywhere", &upstream.Guard{Listeners: []netip.AddrPort{anywhere}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dialer := &net.Dialer{ControlContext: tt.guard.Control}
			for _, address := range []string{own.String(), anywhere.String()} {
				c, err := dialer.DialContext(t.Context(), "tcp", address)
				if err == nil {
					c.Close()
				}
				if (err == nil) != tt.ok || err != nil && !errors.Is(err, upstream.ErrForbiddenAddress) {
					t.Errorf("Dial(%s) = %v, want allowed %t", address, err, tt.ok)
				}
			}
		})
	}
}

func FuzzGuard(f *testing.F) {
	for _, s := range []string{"127.0.0.1:80", "[fe80::1%eth0]:80", "[::ffff:169.254.0.1]:1", "0.0.0.0:8080", "x"} {
		f.Add(s)
	}
	guard := &upstream.Guard{Listeners: []netip.AddrPort{netip.MustParseAddrPort("[::]:8080")}}
	f.Fuzz(func(t *testing.T, address string) {
		if guard.Control(t.Context(), "tcp", address, nil) != nil {
			return
		}
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			t.Fatalf("Control(%q) = nil for what is no address", address)
		}
		ip := ap.Addr().Unmap()
		if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ap.Port() == 8080 && (ip.IsLoopback() || ip.IsUnspecified()) {
			t.Errorf("Control(%q) = nil", address)
		}
	})
}
