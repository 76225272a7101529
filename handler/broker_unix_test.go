//go:build unix

package handler_test

import (
	"syscall"
	"testing"
	"time"
)

// cpuTime returns the CPU time that this process has spent.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
