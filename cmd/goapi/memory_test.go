package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestGroupLimit(t *testing.T) {
	tests := []struct {
		name, self string
		files      map[string]string
		want       int64 // 0 for none
	}{
		{"a limit of its own", "0::/a/b\n", map[string]string{"a/b/memory.max": "1000\n"}, 1000},
		{"one around it", "0::/a/b\n", map[string]string{"a/memory.max": "500\n", "a/b/memory.max": "1000\n"}, 500},
		{"in a container", "0::/\n", map[string]string{"memory.max": "2000\n"}, 2000},
		{"any", "0::/a\n", map[string]string{"a/memory.max": "max\n"}, 0},
		{"no group", "12:memory:/a\n", map[string]string{"a/memory.max": "1000\n"}, 0},
		{"nonsense", "0::/a\n", map[string]string{"a/memory.max": "-1\n"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			self := filepath.Join(root, "self")
			if err := os.WriteFile(self, []byte(tt.self), 0o600); err != nil {
				t.Fatal(err)
			}
			for name, text := range tt.files {
				name = filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, ok := groupLimit(self, root)
			if ok != (tt.want > 0) || ok && got != tt.want {
				t.Errorf("groupLimit = %d, %t, want %d", got, ok, tt.want)
			}
		})
	}
	if _, ok := groupLimit(filepath.Join(t.TempDir(), "absent"), "/nosuch"); ok {
		t.Error("groupLimit without /proc: a limit, want none")
	}
}

func TestCollectLess(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, largeHeap - 1: 100, largeHeap: largePercent, 1 << 40: largePercent} {
		if got := percentOf(live); got != want {
			t.Errorf("GOGC for %d bytes = %d, want %d", live, got, want)
		}
	}
	runtime.GC()
	if liveHeap() == 0 {
		t.Error("the live heap is 0 bytes, want some")
	}
	set := func(string) (string, bool) { return "50", true }
	if err := collectLess(t.Context(), set); err != nil { // it does not go on
		t.Errorf("collectLess with GOGC = %v, want nil", err)
	}
}
