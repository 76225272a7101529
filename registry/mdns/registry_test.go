package mdns

import (
	"net/url"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

func TestRegistry(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registry.Registry { return open(t, "mdns:") }, &registrytest.Options{
		MinTTL: 500 * time.Millisecond, MaxRecord: maxText,
		Sever: func(tb testing.TB, _ registry.Registry) (restore func()) {
			tb.Helper()
			if err := loopback(false); err != nil {
				tb.Fatal(err)
			}
			return func() {
				if err := loopback(true); err != nil {
					tb.Fatal(err)
				}
			}
		},
	})
}

// open opens a registry that is closed when the test ends.
func open(t testing.TB, address string) *Registry {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), u, nil)
	if err != nil {
		t.Fatalf("Open(%s) error = %v", address, err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close() error = %v", err)
		}
	})
	return r
}
