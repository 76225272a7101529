package registrytest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
)

// Loopback returns an IP address of this machine for one test alone, where there
// are that many: nobody else takes the ports of a server there while it is down.
func Loopback() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1"
	}
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)) //nolint:gosec // chance is no secret
}

// FreeAddress returns an address, host:port, at which nobody listens. On a host of
// [Loopback] it stays free.
func FreeAddress(t testing.TB, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0")) //nolint:noctx // it is over at once
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
