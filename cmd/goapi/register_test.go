package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// lines hands on each line that a logger writes.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// TestRegisterSaysThatNobodyListens: a port that is mistyped must not look like a
// service that takes its time.
func TestRegisterSaysThatNobodyListens(t *testing.T) {
	t.Parallel()
	said := make(lines, 1)
	s := &registry.Service{Name: "greeter", Nodes: []*registry.Node{{ID: "1", Address: "127.0.0.1:1"}}}
	a := &announcement{service: s, log: slog.New(slog.NewTextHandler(said, nil))}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.waitAndRun(ctx) }()
	if line := <-said; !strings.Contains(line, "nothing listens at the address") || !strings.Contains(line, "address=127.0.0.1:1") {
		t.Errorf("log = %s, want that nothing listens at 127.0.0.1:1", line)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("waitAndRun = %v, want nil", err)
	}
}

func TestLogTimesHaveUnits(t *testing.T) {
	said := make(lines, 1)
	log, err := newLogger(said, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("waited", "for", 1500*time.Millisecond)
	if line := <-said; !strings.Contains(line, `"for":"1.5s"`) {
		t.Errorf("log = %s, want the time with its unit", line)
	}
}
