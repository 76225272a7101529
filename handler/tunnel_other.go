//go:build !unix

package handler

import (
	"net"
	"syscall"
)

// rawConn returns nil: connections are read as any other.
func rawConn(net.Conn) syscall.RawConn { return nil }

// readReady is not called.
func (e *end) readReady() ([]byte, error) { return nil, nil }
