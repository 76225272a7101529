package registrytest_test

import (
	"net"
	"testing"

	"github.com/goapi-dev/goapi/registry/registrytest"
)

func TestFreeAddress(t *testing.T) {
	host := registrytest.Loopback()
	address := registrytest.FreeAddress(t, host)
	if got, _, err := net.SplitHostPort(address); got != host || err != nil {
		t.Errorf("FreeAddress(%s) = %s, %v, want a port of the host", host, address, err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatalf("Listen(%s) error = %v, want that nobody listens there", address, err)
	}
	l.Close()
}
