package brokertest_test

import (
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/brokertest"
)

func openMemory(testing.TB) broker.Broker { return &broker.Memory{MaxMessages: 500} }

func TestFakeClock(t *testing.T) {
	brokertest.Run(t, openMemory, &brokertest.Options{FakeClock: true, History: 500})
}

func TestRealClock(t *testing.T) {
	brokertest.Run(t, openMemory, &brokertest.Options{MinAckWait: 100 * time.Millisecond, History: 500})
}

// Example shows the test of a broker: a function TestMemory that calls Run.
func Example() {
	testMemory := func(t *testing.T) {
		t.Helper()
		brokertest.Run(t, func(testing.TB) broker.Broker {
			return new(broker.Memory)
		}, &brokertest.Options{FakeClock: true})
	}
	_ = testMemory // "go test" calls it
	// Output:
}
