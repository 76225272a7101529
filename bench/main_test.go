package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// TestMain runs what the measurements under test run as processes of their own,
// which are this program again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		known, err := runHidden(ctx, os.Args[1], os.Args[2:], os.Stdout)
		stop()
		switch {
		case known && err != nil:
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		case known:
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

func TestRunRefuses(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"nothing", nil, "usage: bench"},
		{"an unknown subcommand", []string{"proxies"}, "usage: bench"},
		{"an unknown argument", []string{"proxy", "nginx"}, `unknown argument "nginx"`},
		{"an unknown flag", []string{"register", "-rounds", "1"}, "not defined: -rounds"},
		{"no rounds", []string{"proxy", "-rounds", "0"}, "-rounds"},
		{"a short turn", []string{"proxy", "-duration", "1ms"}, "-duration"},
		{"no WebSockets", []string{"websockets", "-n", "0"}, "-n"},
		{"more WebSockets than files", []string{"websockets", "-n", "1000000000"}, "open files"},
		{"no events", []string{"sse", "-events", "0"}, "-events"},
		{"no publishers", []string{"publish", "-publishers", "0"}, "-publishers"},
		{"no clients", []string{"fanout", "-subscribers", "0"}, "-subscribers"},
		{"no time", []string{"fanout", "-for", "1ms"}, "-for"},
		{"more clients than files", []string{"fanout", "-subscribers", "1000000000"}, "open files"},
		{"no rounds of the edge", []string{"edge", "-edge-rounds", "0"}, "-edge-rounds"},
		{"no workers", []string{"overload", "-workers", "0"}, "-workers"},
		{"no uploads", []string{"memory", "-uploads", "0"}, "-uploads"},
		{"more idle connections than files", []string{"memory", "-idle-connections", "1000000000"}, "open files"},
		{"no others", []string{"floods", "-honest", "0"}, "-honest"},
		{"no reloads", []string{"reload", "-reloads", "0"}, "-reloads"},
		{"no changes", []string{"register", "-changes", "0"}, "-changes"},
		{"an unknown registry", []string{"discovery", "-only", "zookeeper"}, "zookeeper"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := run(t.Context(), tt.args, new(bytes.Buffer))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("run(%q) error = %v, want one with %q", tt.args, err, tt.want)
			}
		})
	}
}

func TestRunHelps(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"all", "-h"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"-rounds", "-only", "-n int", "-every", "-publishers", "-subscribers", "-edge-rounds", "-workers", "-uploads", "-honest", "-reloads"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("bench all -h = %q, want %s in it", out.String(), want)
		}
	}
}
