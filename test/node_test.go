package test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
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
	host := registrytest.Loopback()
	for _, kind := range kinds {
		n.addresses[kind] = registrytest.FreeAddress(t, host)
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
