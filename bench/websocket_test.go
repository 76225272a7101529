package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestParseTrace(t *testing.T) {
	tests := []struct {
		name, line   string
		heap, stacks float64
		ok           bool
	}{
		{
			"a collection",
			"gc 7 @0.212s 3%: 0.026+1.2+0.026 ms clock, 0.053+0.33/0.68/0+0.052 ms cpu, 4->5->2 MB, 5 MB goal, 1 MB stacks, 0 MB globals, 2 P",
			2048, 1024, true,
		},
		{"forced", "gc 8 @1s 3%: 0+1+0 ms clock, 0+0/0/0+0 ms cpu, 40->50->23 MB, 47 MB goal, 12 MB stacks, 0 MB globals, 2 P (forced)", 23552, 12288, true},
		{"the scavenger", "scvg: 8 KB released", 0, 0, false},
		{"a log", `level=INFO msg="gc 7, 4->5->2 MB, 1 MB stacks"`, 0, 0, false},
		{"nothing", "", 0, 0, false},
		{"cut off", "gc 7 @0.212s 3%: 0.0", 0, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			heap, stacks, ok := parseTrace(tt.line)
			if ok != tt.ok || ok && (heap != tt.heap || stacks != tt.stacks) {
				t.Errorf("parseTrace = %v, %v, %t, want %v, %v, %t", heap, stacks, ok, tt.heap, tt.stacks, tt.ok)
			}
		})
	}
}

func TestMemoryEach(t *testing.T) {
	before := memory{resident: 1000, heap: 100, stacks: 10}
	got := memory{resident: 5000, heap: 300, stacks: 50}.each(before, 10)
	if want := (memory{400, 20, 4}); got != want {
		t.Errorf("each = %+v, want %+v", got, want)
	}
}

// TestSockets measures a service without a gateway before it.
func TestSockets(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(serveSocket))
	defer service.Close()
	b := &websocketBench{n: 20, size: 100, rounds: 2, changes: 3}
	m := &sockets{bench: b, url: "ws" + strings.TrimPrefix(service.URL, "http")}
	defer m.close()
	if err := m.dial(t.Context(), b.n); err != nil {
		t.Fatal(err)
	}
	m.echo(t.Context())
	if len(m.took) != b.n || m.lost != 0 {
		t.Errorf("%d echoes and %d lost, want %d and none", len(m.took), m.lost, b.n)
	}
	_ = m.conns[3].CloseNow() // that is the test
	m.echo(t.Context())
	m.echo(t.Context())
	if len(m.took) != 3*b.n-2 || m.lost != 1 {
		t.Errorf("%d echoes and %d lost, want %d and 1", len(m.took), m.lost, 3*b.n-2)
	}
	var out bytes.Buffer
	b.print(&out, m)
	for _, want := range []string{"20 WebSockets", "after 3 changes", "1 lost"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("print = %q, want %q in it", out.String(), want)
		}
	}
}

func TestEnoughFiles(t *testing.T) {
	if err := enoughFiles(1); err != nil {
		t.Errorf("enoughFiles(1): %v", err)
	}
	if err := enoughFiles(1 << 62); err == nil || !strings.Contains(err.Error(), "ulimit") {
		t.Errorf("enoughFiles(1<<62) error = %v, want what to do", err)
	}
}

func TestProcessMemory(t *testing.T) {
	l, err := newLab()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	log, err := l.file("p.log", "gc 1 @0s 0%: 0 ms clock, 4->5->2 MB, 5 MB goal, 1 MB stacks, 2 P\nlistening\n")
	if err != nil {
		t.Fatal(err)
	}
	got, err := (&process{pid: os.Getpid(), log: log}).memory()
	if err != nil || got.resident <= 0 || got.heap != 2048 || got.stacks != 1024 {
		t.Errorf("memory = %+v, %v, want something resident, and what the log says", got, err)
	}
}
