//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package nats

import (
	"os"
	"syscall"
)

// lock opens a file that no other process, and nobody else in this one, has
// locked. The lock ends when the file is closed.
func lock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator names the store
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		return nil, &os.PathError{Op: "lock", Path: name, Err: err}
	}
	return f, nil
}
