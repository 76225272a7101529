package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

const (
	// largeHeap is that of a gateway that knows thousands of services, in bytes.
	largeHeap = 64 << 20
	// largePercent is GOGC with a large heap.
	largePercent = 200
	heapEvery    = 10 * time.Second
)

// limitMemory has the garbage collector work before the kernel ends the process:
// where the control group of the process bounds its memory, the collector's limit is
// nine tenths of that, unless GOMEMLIMIT says another.
func limitMemory(env func(string) (string, bool)) {
	if _, ok := env("GOMEMLIMIT"); ok {
		return
	}
	if limit, ok := groupLimit("/proc/self/cgroup", "/sys/fs/cgroup"); ok {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// collectLess has a large heap collected half as often, unless GOGC is set: what is
// known of services makes it large, and stays, and to mark it takes the cores away
// from requests. It runs until ctx is done.
func collectLess(ctx context.Context, env func(string) (string, bool)) error {
	if _, ok := env("GOGC"); ok {
		return nil
	}
	tick := time.NewTicker(heapEvery)
	defer tick.Stop()
	percent := 100
	for {
		if next := percentOf(liveHeap()); next != percent {
			percent = next
			debug.SetGCPercent(percent)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// percentOf returns GOGC for a heap of so many bytes.
func percentOf(live uint64) int {
	if live >= largeHeap {
		return largePercent
	}
	return 100
}

// liveHeap returns what the last collection left, in bytes.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// groupLimit returns the memory that a control group (version 2) allows, in bytes;
// false where it allows any, or none is known. The groups around it count, too.
func groupLimit(self, root string) (int64, bool) {
	text, err := os.ReadFile(self) //nolint:gosec // a file of the kernel
	if err != nil {
		return 0, false
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(text)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for {
			if limit, ok := readLimit(root + group + "/memory.max"); ok {
				least = min(least, limit)
			}
			i := strings.LastIndexByte(group, '/')
			if i < 0 {
				break
			}
			group = group[:i]
		}
	}
	return least, least < math.MaxInt64
}

func readLimit(file string) (int64, bool) {
	text, err := os.ReadFile(file) //nolint:gosec // a file of the kernel
	if err != nil {
		return 0, false
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return limit, err == nil && limit > 0
}
