package test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/service"
)

// A node is a process of its own that serves HTTP and RPC. It writes a line for
// every request it has read, so that a test knows what reached it even if the
// node did not live to answer.
type node struct {
	id, address string

	cmd  *exec.Cmd
	done chan struct{} // closed when its output has ended

	mu   sync.Mutex
	seen []string // what was requested
}

// work is how long a node takes for a request: long enough that it has some in
// hand when it is killed.
const work = 15 * time.Millisecond

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
	s := service.New("node", nil)
	s.Handle("Node.Echo", service.Method(func(_ context.Context, req *echo) (*echo, error) {
		write(req.Request)
		time.Sleep(work)
		return &echo{Request: req.Request, Node: id}, nil
	}), nil)
	s.HandleHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // an error shows in the answer that does not come
		write(strings.TrimPrefix(r.URL.Path, "/web/"))
		time.Sleep(work)
		_ = json.NewEncoder(w).Encode(echo{Request: strings.TrimPrefix(r.URL.Path, "/web/"), Node: id})
	}))
	return http.Serve(l, s)
}

// echo is what nodes read and answer.
type echo struct {
	Request string `json:"request"`
	Node    string `json:"node"`
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

// announced returns the nodes as one service whose routes are /NAME/**, over
// HTTP.
func announced(name string, nodes ...*node) *registry.Service {
	return announcedAs(name, "Web", map[string]string{"handler": "http", "path": "/" + name + "/**"}, nodes)
}

// announcedAs returns the nodes as one service with one endpoint.
func announcedAs(name, endpoint string, metadata map[string]string, nodes []*node) *registry.Service {
	s := &registry.Service{Name: name, Version: "latest", Endpoints: []*registry.Endpoint{{Name: endpoint, Metadata: metadata}}}
	for _, n := range nodes {
		s.Nodes = append(s.Nodes, &registry.Node{ID: n.id, Address: n.address})
	}
	return s
}
