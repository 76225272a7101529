//go:build unix

package handler

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// rawConn returns what c reads from, or nil if c does more than to read.
func rawConn(c net.Conn) syscall.RawConn {
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// readReady is next, but that it takes a buffer only when there is something to
// put into it.
func (e *end) readReady() ([]byte, error) {
	if e.try == nil {
		e.try = e.tryRead // an allocation, once
	}
	if err := e.raw.Read(e.try); err != nil {
		return nil, err
	}
	return e.buf[:e.n], e.err
}

// tryRead reads unless it would have to wait.
func (e *end) tryRead(fd uintptr) bool {
	e.buf = e.buffers.get()
	for {
		e.n, e.err = syscall.Read(int(fd), e.buf[:])
		if !errors.Is(e.err, syscall.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(e.err, syscall.EAGAIN):
		e.release()
		return false
	case e.err != nil:
		e.n, e.err = 0, os.NewSyscallError("read", e.err)
	case e.n == 0:
		e.err = io.EOF
	}
	return true
}
