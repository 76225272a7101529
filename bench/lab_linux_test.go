package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLabTakesAllWithIt(t *testing.T) {
	l, err := newLab()
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.start(t.Context(), "waits", 0, "sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
	default:
		t.Error("the process outlived the lab")
	}
	if _, err := os.Stat(l.dir); !os.IsNotExist(err) {
		t.Errorf("Stat of the directory error = %v, want that it is gone", err)
	}
}

func TestLabEndsWithItsContext(t *testing.T) {
	l, err := newLab()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p, err := l.start(ctx, "waits", -1, "sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-p.done
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLabMissesAProgram(t *testing.T) {
	l := &lab{dir: t.TempDir()}
	_, err := l.start(t.Context(), "missing", 0, "no-such-program")
	if err == nil || !strings.Contains(err.Error(), "no-such-program") || !strings.Contains(err.Error(), "apt-get") {
		t.Errorf("start error = %v, want one that names the program and how to install it", err)
	}
}

func TestAwaitTellsLastWords(t *testing.T) {
	l := &lab{dir: t.TempDir()}
	p, err := l.start(t.Context(), "fails", -1, "sh", "-c", "echo no such file >&2; exit 1")
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	err = p.await(t.Context(), "http://127.0.0.1:1/")
	if err == nil || !strings.Contains(err.Error(), "fails ended: no such file") {
		t.Errorf("await error = %v, want what the process said", err)
	}
}

func TestCPUGrows(t *testing.T) {
	p := &process{name: "this", pid: os.Getpid()}
	before, err := p.cpu()
	if err != nil {
		t.Fatal(err)
	}
	for sum, i := 0, 0; i < 1e7; i++ {
		sum += i * i
	}
	after, err := p.cpu()
	if err != nil {
		t.Fatal(err)
	}
	if before <= 0 || after <= before {
		t.Errorf("cpu = %v, later %v: want that it grows", before, after)
	}
}

func TestCPUOfWhatEnded(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, []byte("out of sockets\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{name: "gone", pid: -1, log: log}
	if _, err := p.cpu(); err == nil || !strings.Contains(err.Error(), "out of sockets") {
		t.Errorf("cpu error = %v, want what the process said", err)
	}
}
