package client_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

// A chunk is what one side of a recorded connection wrote at once.
type chunk struct {
	toServer bool
	data     []byte
}

// readCapture returns the connections of a recording under testdata.
func readCapture(t testing.TB, name string) [][]chunk {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var conns [][]chunk
	for {
		_, after, ok := bytes.Cut(b, []byte("\n===== conn "))
		if !ok {
			return conns
		}
		line, rest, _ := bytes.Cut(after, []byte("\n"))
		var (
			conn, size int
			dir        string
		)
		if _, err := fmt.Sscanf(strings.Replace(string(line), "EOF ", "", 1), "%d %s %d bytes", &conn, &dir, &size); err != nil {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		for len(conns) < conn {
			conns = append(conns, nil)
		}
		if size > 0 {
			conns[conn-1] = append(conns[conn-1], chunk{toServer: dir == "C>S", data: rest[:size]})
		}
		b = rest[size:]
	}
}

// A replay is a server that answers as a recorded one did, write by write.
type replay struct {
	node *registry.Node

	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

// serveCapture starts a server for one connection of a recording.
func serveCapture(t testing.TB, chunks []chunk) *replay {
	t.Helper()
	rp := new(replay)
	rp.node = serveConn(t, func(conn net.Conn) { rp.serve(conn, chunks) })
	return rp
}

// serveConn starts a server of one connection.
func serveConn(t testing.TB, serve func(net.Conn)) *registry.Node {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		serve(conn)
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return &registry.Node{ID: "n1", Address: ln.Addr().String(), Metadata: map[string]string{"protocol": "mucp"}}
}

// serveOnce starts a server that answers one request with the same bytes, and
// ends.
func serveOnce(t testing.TB, answer string) *registry.Node {
	t.Helper()
	return serveConn(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		if !new(replay).read(in) {
			return
		}
		_, _ = io.WriteString(conn, answer) // the client may have had enough
		if half, ok := conn.(*net.TCPConn); ok {
			_ = half.CloseWrite() // as above
		}
		_, _ = io.Copy(io.Discard, in) // until the client closes
	})
}

// serveBytes starts a server that answers one request with the same bytes.
func serveBytes(t *testing.T, answer string) *replay {
	t.Helper()
	return serveCapture(t, []chunk{{toServer: true}, {data: []byte(answer)}})
}

// serve writes what was recorded, each time after as many requests as had been
// recorded before.
func (rp *replay) serve(conn net.Conn, chunks []chunk) {
	in := bufio.NewReader(conn)
	var heard []chunk
	for _, c := range chunks {
		if c.toServer {
			heard = append(heard, c)
			continue
		}
		for before, _ := parseRequests(heard); len(rp.requests) < max(len(before), 1); {
			if !rp.read(in) {
				return
			}
		}
		if _, err := conn.Write(c.data); err != nil {
			return
		}
	}
	for rp.read(in) { // until the client closes
	}
}

// read reads a request.
func (rp *replay) read(in *bufio.Reader) bool {
	r, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false
	}
	rp.mu.Lock()
	defer rp.mu.Unlock()
	rp.requests, rp.bodies = append(rp.requests, r), append(rp.bodies, string(body))
	return true
}

// seen returns the requests so far.
func (rp *replay) seen() (requests []*http.Request, bodies []string) {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	return slices.Clone(rp.requests), slices.Clone(rp.bodies)
}

// parseRequests returns the requests that a recording holds whole.
func parseRequests(chunks []chunk) (requests []*http.Request, bodies []string) {
	var all bytes.Buffer
	for _, c := range chunks {
		if c.toServer {
			all.Write(c.data)
		}
	}
	in := bufio.NewReader(&all)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return requests, bodies
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return requests, bodies
		}
		requests, bodies = append(requests, r), append(bodies, string(body))
	}
}

// A transcript is a curl call and the answer to it.
type transcript struct {
	header map[string]string
	body   string
	answer string // empty where the service did not answer
}

// readTranscript returns the calls of a curl transcript under testdata.
func readTranscript(t *testing.T, name string) []transcript {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var calls []transcript
	for part := range strings.SplitSeq("\n"+string(b), "\n$ curl ") {
		command, answer, ok := strings.Cut(part, "\n")
		if !ok || command == "" {
			continue
		}
		answer, _, _ = strings.Cut(answer, "   [exit ")
		call := transcript{header: make(map[string]string), answer: answer}
		call.parse(command)
		calls = append(calls, call)
	}
	return calls
}

// parse reads the -H and -d of a command line, which was recorded unquoted.
func (c *transcript) parse(command string) {
	for option := range strings.SplitSeq(command, " -") {
		option = strings.TrimPrefix(option, "-")
		switch {
		case strings.HasPrefix(option, "H "):
			name, value, _ := strings.Cut(option[2:], ":")
			c.header[name] = strings.TrimSpace(value)
		case strings.HasPrefix(option, "d "):
			c.body, _, _ = strings.Cut(option[2:], " http://")
		}
	}
}
