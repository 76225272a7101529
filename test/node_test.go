package test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

// A node is a process of its own that serves HTTP. It writes a line for every
// request it has read, so that a test knows what reached it even if the node
// did not live to answer.
type node struct {
	id, address string

	cmd  *exec.Cmd
	done chan struct{} // closed when its output has ended

	mu   sync.Mutex
	seen []string // "METHOD ID"
}

// serveNode is the node's process.
func serveNode(id string) error {
	out := bufio.NewWriter(os.Stdout)
	var mu sync.Mutex
	write := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(out, line)
		out.Flush()
	}
	l, err := listen()
	if err != nil {
		return err
	}
	write("listening " + l.Addr().String())
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // an error shows in the answer that does not come
		write(r.Method + " " + r.Header.Get("X-Request"))
		fmt.Fprintf(w, "%s %s", id, r.Header.Get("X-Request"))
	}))
}

// startNode starts a node and kills it when the test ends.
func startNode(t *testing.T, id string) *node {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{id: id, cmd: exec.Command(self), done: make(chan struct{})}
	n.cmd.Env = append(os.Environ(), nodeEnv+"="+id)
	n.cmd.Stderr = os.Stderr
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.kill() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("node %s ended before it listened", id)
	}
	n.address = strings.TrimPrefix(lines.Text(), "listening ")
	go func() { // ends with the process
		defer close(n.done)
		for lines.Scan() {
			n.mu.Lock()
			n.seen = append(n.seen, lines.Text())
			n.mu.Unlock()
		}
	}()
	return n
}

// kill ends the node with SIGKILL, and returns when it is gone.
func (n *node) kill() {
	_ = n.cmd.Process.Kill() // it may be gone already
	<-n.done
	_ = n.cmd.Wait() // killed: that is the error
}

// requests returns what the node has read so far.
func (n *node) requests() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.seen...)
}

// announced returns the nodes as one service whose routes are /NAME/**.
func announced(name string, nodes ...*node) *registry.Service {
	s := &registry.Service{Name: name, Version: "latest", Endpoints: []*registry.Endpoint{{
		Name:     "Web",
		Metadata: map[string]string{"endpoint": "Web", "handler": "http", "path": "/" + name + "/**"},
	}}}
	for _, n := range nodes {
		s.Nodes = append(s.Nodes, &registry.Node{ID: n.id, Address: n.address})
	}
	return s
}
