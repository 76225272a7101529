package main

import (
	"net"
	"path/filepath"
	"testing"
)

// TestManager: systemd is told in the words of sd_notify(3), and without it
// nobody is.
func TestManager(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	m := managerOf(func(string) (string, bool) { return socket, true })
	for _, tell := range []struct {
		f    func() error
		want string
	}{{m.ready, "READY=1"}, {m.stopping, "STOPPING=1"}} {
		if err := tell.f(); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 64)
		n, err := conn.Read(b)
		if got := string(b[:n]); err != nil || got != tell.want {
			t.Errorf("told %q, %v, want %q", got, err, tell.want)
		}
	}
	if err := managerOf(func(string) (string, bool) { return "", false }).ready(); err != nil {
		t.Errorf("without a manager: %v", err)
	}
	if err := (manager{filepath.Join(t.TempDir(), "absent")}).ready(); err == nil {
		t.Error("a socket that is not there: no error")
	}
}
