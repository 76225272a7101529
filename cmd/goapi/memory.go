package main

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
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
