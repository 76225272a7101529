package mdns

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests in a network of their own, where there is multicast
// and nobody else.
func TestMain(m *testing.M) {
	alone(func() {
		goleak.VerifyTestMain(m)
	}, os.Exit)
}
