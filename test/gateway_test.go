package test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/service"
)

// patience bounds every wait of these tests.
const patience = 20 * time.Second

// A process is a running goapi.
type process struct {
	address, admin, nats string

	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{} // closed when its log has ended

	mu  sync.Mutex
	log strings.Builder
}

// startGateway starts goapi run with a data directory of its own, on free ports
// unless args say otherwise, and stops it when the test ends.
func startGateway(t *testing.T, args ...string) *process {
	t.Helper()
	p, err := tryGateway(t, args...)
	if err != nil {
		t.Fatalf("goapi run: %v\n%s", err, p.logged())
	}
	return p
}

func tryGateway(t *testing.T, args ...string) (*process, error) {
	t.Helper()
	all := append([]string{
		"run", "--log-format", "json", "--log-level", "debug", "--data", t.TempDir(),
		"--address", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--nats", "off",
	}, args...)
	p := &process{t: t, cmd: exec.Command(binary, all...), done: make(chan struct{})}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	serving := make(chan struct{})
	go func() { // ends with the process
		defer close(p.done)
		p.follow(bufio.NewScanner(stderr), serving)
	}()
	select {
	case <-serving:
	case <-p.done:
		return p, errors.New("it ended")
	case <-time.After(patience):
		return p, errors.New("it does not serve")
	}
	p.await(func() bool { return p.status(p.admin, "/readyz") == http.StatusOK }, "ready")
	return p, nil
}

// follow keeps the log, and reads from it where the gateway serves.
func (p *process) follow(lines *bufio.Scanner, serving chan<- struct{}) {
	for lines.Scan() {
		p.mu.Lock()
		p.log.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		var line struct{ Msg, Address, Admin, NATS string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			p.address, p.admin, p.nats = line.Address, line.Admin, line.NATS
			close(serving)
		}
	}
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// kill ends the gateway with SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.done
	_ = p.cmd.Wait() // killed, or waited for before
}

// terminate sends SIGTERM.
func (p *process) terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns the exit status.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("the gateway did not end\n%s", p.logged())
	}
	_ = p.cmd.Wait() // the status below says it
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) client() *admin.Client { return admin.NewClient(p.admin, "") }

// register announces s, and returns when the gateway routes to it.
func (p *process) register(s *registry.Service, ttl time.Duration) {
	p.t.Helper()
	if err := p.client().Register(p.t.Context(), s, ttl); err != nil {
		p.t.Fatalf("register %s: %v", s.Name, err)
	}
	p.await(func() bool { return len(p.nodes(s.Name)) >= len(s.Nodes) }, "service "+s.Name+" in the table")
}

// serve runs a service of this process, announced to the gateway, until the
// test ends. It returns when the gateway routes to it.
func (p *process) serve(s *service.Service) {
	p.t.Helper()
	routes := func() int {
		list, err := p.client().Routes(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		return len(list.Routes)
	}
	before := routes()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	p.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			p.t.Error(err)
		}
	})
	p.await(func() bool { return routes() > before }, "routes of a service")
}

// nodes returns the ids of a service's nodes as the gateway sees them.
func (p *process) nodes(name string) []string {
	p.t.Helper()
	services, err := p.client().Services(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	var ids []string
	for _, s := range services {
		for _, n := range s.Nodes {
			if s.Name == name {
				ids = append(ids, n.ID)
			}
		}
	}
	return ids
}

// await asks again until cond holds: what another process does cannot be
// waited for otherwise.
func (p *process) await(cond func() bool, what string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("no %s within %s\n%s", what, patience, p.logged())
		}
	}
}

// status returns the status of a GET, or 0 if there is no answer.
func (p *process) status(address, path string) int {
	status, _ := p.get(address, path)
	return status
}

// get returns the answer to a GET with a header of names and values.
func (p *process) get(address, path string, header ...string) (int, string) {
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return rsp.StatusCode, string(b)
}

// command runs goapi with the gateway's admin address, and returns what it
// prints and its status.
func (p *process) command(args ...string) (stdout, stderr string, status int) {
	return command(p.t, append([]string{args[0], "--admin", p.admin}, args[1:]...)...)
}

func command(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// listen opens a free port on loopback.
func listen() (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
}
