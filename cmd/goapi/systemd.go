package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

// A manager is the service manager that started the program, if it wants to be
// told: systemd, by sd_notify(3).
type manager struct{ socket string }

// managerOf finds it in the environment.
func managerOf(env func(string) (string, bool)) manager {
	socket, _ := env("NOTIFY_SOCKET")
	return manager{socket}
}

// ready says that requests are served.
func (m manager) ready() error { return m.tell("READY=1") }

// stopping says that the program ends.
func (m manager) stopping() error { return m.tell("STOPPING=1") }

// tell sends a state. One datagram is all there is to it.
func (m manager) tell(state string) error {
	if m.socket == "" {
		return nil
	}
	dialer := net.Dialer{Timeout: time.Second}
	name := m.socket
	if name[0] == '@' { // in the abstract namespace, whose names begin with a zero byte
		name = "\x00" + name[1:]
	}
	conn, err := dialer.Dial("unixgram", name)
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET %s: %w", m.socket, err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil && !os.IsTimeout(err) {
		return fmt.Errorf("NOTIFY_SOCKET %s: %w", m.socket, err)
	}
	return nil
}
