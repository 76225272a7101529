//go:build linux && !race

package server_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// idle is how many connections are measured together.
const idle = 1500

// TestMemoryOfIdleConnections measures what a connection that waits for its next
// request holds, as the system counts it.
func TestMemoryOfIdleConnections(t *testing.T) {
	_, roots := certificates(t)
	tests := []struct {
		name   string
		scheme string
		most   int // KiB
	}{
		{"HTTP", "http", 28},
		{"HTTPS", "https", 45},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			address := child(t, tt.scheme)
			ask := func(path string) (net.Conn, string) {
				conn := dial(t, address)
				if tt.scheme == "https" {
					conn = tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12})
				}
				_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\nUser-Agent: test\r\n\r\n")
				rsp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer rsp.Body.Close()
				b, _ := io.ReadAll(rsp.Body)
				return conn, string(b)
			}
			size := func() (pages int) {
				conn, answer := ask("/size")
				defer conn.Close()
				if _, err := fmt.Sscan(answer, &pages); err != nil {
					t.Fatal(err)
				}
				return pages
			}
			size() // what is made once
			before := size()
			for range idle {
				ask("/")
			}
			each := (size() - before) * os.Getpagesize() / idle
			t.Logf("%d bytes of memory for each of %d connections", each, idle)
			if each > tt.most<<10 {
				t.Errorf("an idle connection takes %d KiB, want at most %d", each>>10, tt.most)
			}
		})
	}
}

// child starts a server in a process of its own, and returns its address.
func child(t *testing.T, scheme string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envServer+"="+scheme)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server said %q, %v; want its address", line, err)
	}
	return strings.TrimSpace(line)
}
