package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// A node is a place where one process after another serves; see serve_test.go.
// It knows what reached any of them.
type node struct {
	id        string
	address   string            // of its web service
	addresses map[string]string // by kind
	admin     string            // the gateway that its processes announce themselves to
	wrap      []string          // a command that runs the process, which ends at once on SIGTERM

	t    *testing.T
	cmd  *exec.Cmd     // the process, if it runs
	done chan struct{} // closed when its output has ended

	mu   sync.Mutex
	seen []string // what was requested
}

// newNode returns a node of services without a process.
func newNode(t *testing.T, id string, kinds ...string) *node {
	t.Helper()
	n := &node{id: id, t: t, addresses: make(map[string]string)}
	host := loopback()
	for _, kind := range kinds {
		n.addresses[kind] = freeAddress(t, host)
	}
	n.address = n.addresses["web"]
	return n
}

// startNode starts a node that is not announced, and kills it when the test
// ends.
func startNode(t *testing.T, id string) *node {
	t.Helper()
	n := newNode(t, id, "web")
	n.start()
	return n
}

// start starts a process, and returns when it listens.
func (n *node) start() {
	n.t.Helper()
	config, err := json.Marshal(nodeConfig{ID: n.id, Addresses: n.addresses, Admin: n.admin, Abrupt: n.wrap != nil})
	if err != nil {
		n.t.Fatal(err)
	}
	command := append(slices.Clone(n.wrap), nodeBinary)
	n.cmd, n.done = exec.Command(command[0], command[1:]...), make(chan struct{})
	n.cmd.Env = append(os.Environ(), nodeEnv+"="+string(config))
	n.cmd.Stderr = os.Stderr
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(n.kill)
	listening := make(chan struct{})
	go n.follow(bufio.NewScanner(out), listening) // ends with the process
	select {
	case <-listening:
	case <-n.done:
		n.t.Errorf("node %s ended before it listened", n.id)
	case <-time.After(patience):
		n.t.Errorf("node %s does not listen", n.id)
	}
}

// follow notes what the process says: first that it listens, then what it has
// read.
func (n *node) follow(lines *bufio.Scanner, listening chan<- struct{}) {
	defer close(n.done)
	if !lines.Scan() || lines.Text() != "listening" {
		return
	}
	close(listening)
	for lines.Scan() {
		n.mu.Lock()
		n.seen = append(n.seen, lines.Text())
		n.mu.Unlock()
	}
}

// kill ends the process with SIGKILL, and returns when it is gone.
func (n *node) kill() {
	end := syscall.SIGKILL
	if n.wrap != nil {
		end = syscall.SIGTERM // else what is wrapped lives on
	}
	_ = n.cmd.Process.Signal(end) // it may be gone already
	<-n.done
	_ = n.cmd.Wait() // killed, or waited for before
}

// terminate ends the process with SIGTERM, and returns when it is gone.
func (n *node) terminate() {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	<-n.done
	if err := n.cmd.Wait(); err != nil {
		n.t.Errorf("node %s after SIGTERM: %v", n.id, err)
	}
}

func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Errorf("node %s: %v", n.id, err)
	}
}

// requests returns what the node's processes have read so far.
func (n *node) requests() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.seen)
}

// loopback returns an IP address of this machine for one node alone, where there
// are that many: nobody takes the node's ports while it is down.
func loopback() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1"
	}
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
}

// freeAddress returns an address at which nobody listens.
func freeAddress(t *testing.T, host string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// announced returns nodes as one service whose routes are /NAME/**, over HTTP.
func announced(name string, nodes ...*node) *registry.Service {
	s := &registry.Service{Name: name, Version: "latest", Endpoints: []*registry.Endpoint{
		{Name: "Web", Metadata: map[string]string{"handler": "http", "path": "/" + name + "/**"}},
	}}
	for _, n := range nodes {
		s.Nodes = append(s.Nodes, &registry.Node{ID: n.id, Address: n.address})
	}
	return s
}
