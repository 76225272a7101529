//go:build !linux

package mdns

// alone runs the tests in the network of the machine.
func alone(run func(), _ func(code int)) { run() }
