package registrytest_test

import (
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

func openMemory(*testing.T) registry.Registry { return new(registry.Memory) }

func TestFakeClock(t *testing.T) {
	registrytest.Run(t, openMemory, &registrytest.Options{FakeClock: true})
}

func TestRealClock(t *testing.T) {
	registrytest.Run(t, openMemory, &registrytest.Options{MinTTL: 300 * time.Millisecond})
}

// Example shows the test of a registry: a function TestMemory that calls Run.
func Example() {
	testMemory := func(t *testing.T) {
		t.Helper()
		registrytest.Run(t, func(*testing.T) registry.Registry {
			return new(registry.Memory)
		}, &registrytest.Options{FakeClock: true})
	}
	_ = testMemory // "go test" calls it
	// Output:
}
