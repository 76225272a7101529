//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd && !windows

package nats

import "os"

// lock opens a file. On this system it keeps nobody out.
func lock(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator names the store
}
