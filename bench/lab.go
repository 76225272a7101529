package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// readyWithin is how long a process may take until it answers, and a change
// until it shows.
const readyWithin = 20 * time.Second

// A lab is where the processes of a measurement live: their directory, and
// how they are started and ended.
type lab struct {
	dir       string
	env       []string // of the processes, beside what this one has
	processes []*process
}

func newLab() (*lab, error) {
	dir, err := os.MkdirTemp("", "goapi-bench-")
	if err != nil {
		return nil, err
	}
	return &lab{dir: dir}, nil
}

// Close ends the processes, waits for them, and removes the directory.
func (l *lab) Close() error {
	for _, p := range l.processes {
		p.end()
	}
	for _, p := range l.processes {
		<-p.done
	}
	return os.RemoveAll(l.dir)
}

// file writes a file of the lab and returns its path.
func (l *lab) file(name, content string) (string, error) {
	path := filepath.Join(l.dir, name)
	return path, os.WriteFile(path, []byte(content), 0o600)
}

// A process is a program that runs on one core until its lab closes.
type process struct {
	name string
	pid  int
	log  string
	end  context.CancelFunc
	done chan struct{} // closed when it has ended
}

// start runs a program of the lab on a core; negative is any core. What it
// says goes to a file.
func (l *lab) start(ctx context.Context, name string, core int, program string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(l.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	ctx, cancel := context.WithCancel(ctx)
	cmd, err := pinned(ctx, core, program, args...)
	if err != nil {
		cancel()
		return nil, err
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.dir, log, log
	cmd.Env = append(os.Environ(), l.env...)
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, pid: cmd.Process.Pid, log: log.Name(), end: cancel, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended does not matter: that it ended too soon does, and await sees that
		close(p.done)
	}()
	l.processes = append(l.processes, p)
	return p, nil
}

// pinned is a command that runs on one core. It is asked to end when ctx is
// done, and made to 5 s later.
func pinned(ctx context.Context, core int, program string, args ...string) (*exec.Cmd, error) {
	path, err := find(program)
	if err != nil {
		return nil, err
	}
	if core >= 0 {
		args = append([]string{"-c", strconv.Itoa(core), path}, args...)
		if path, err = find("taskset"); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}

// find returns the path of a program. Debian's servers are not in the PATH of
// every user.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		return path, nil
	}
	if path, err := exec.LookPath("/usr/sbin/" + program); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("%w: install it (Debian: apt-get install nginx haproxy wrk util-linux)", err)
}

// await waits until a URL that p serves answers with 200.
func (p *process) await(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		got, err := fetch(ctx, client, http.MethodGet, url, nil)
		if err == nil && got.status == http.StatusOK {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %s", p.name, p.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("%s: GET %s: status %d, %w: %s", p.name, url, got.status, errors.Join(err, ctx.Err()), p.lastWords())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// lastWords is the end of what the process said.
func (p *process) lastWords() string {
	said, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	said = bytes.TrimSpace(said)
	return string(said[max(0, len(said)-1000):])
}

// cpu returns the time that the process has had on a core, user and system,
// in all its threads.
func (p *process) cpu() (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.pid))
	if err != nil {
		return 0, err
	}
	if len(threads) == 0 {
		return 0, fmt.Errorf("%s ended: %s", p.name, p.lastWords())
	}
	var sum time.Duration
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if err != nil {
			return 0, err
		}
		ran, _, _ := strings.Cut(string(stat), " ") // ns on a core, ns waiting for one, turns
		ns, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", thread, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// freeAddress returns a loopback address that nothing listens on.
func freeAddress(ctx context.Context) (string, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
