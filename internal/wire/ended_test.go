//go:build unix

package wire_test

import (
	"context"
	"io"
	"net"
	"net/http/httptrace"
	"testing"

	"github.com/goapi-dev/goapi/internal/wire"
)

// TestConnectionThatTheOtherSideHasClosed gets a kept connection of which the
// transport does not know yet that it is closed.
func TestConnectionThatTheOtherSideHasClosed(t *testing.T) {
	here, there := connect(t)
	c := &wire.Conn{Conn: here}
	var first wire.Trip
	first.GotConn(httptrace.GotConnInfo{Conn: c, Reused: true})
	if _, err := io.WriteString(c, "x"); err != nil || !first.Sent() {
		t.Fatalf("write to an open connection: %v, sent %t; want it sent", err, first.Sent())
	}
	if _, err := io.ReadFull(there, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	there.Close()
	awaitEnd(t, here)

	trip := wire.Trip{Once: true}
	trip.GotConn(httptrace.GotConnInfo{Conn: c, Reused: true})
	if _, err := io.WriteString(c, "x"); err == nil {
		t.Error("a write to a closed connection succeeds")
	}
	if trip.Sent() {
		t.Error("what was not written counts as sent")
	}
	if !trip.Again(context.Background()) {
		t.Error("no other connection is taken")
	}
}

// connect returns both ends of a connection over loopback.
func connect(t *testing.T) (here, there net.Conn) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if here, err = new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if there, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		here.Close()
		there.Close()
	})
	return here, there
}

// awaitEnd returns when the end of a connection has arrived, which can be read
// again and again.
func awaitEnd(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF { //nolint:errorlint // io.EOF is not wrapped
		t.Fatalf("Read = %d, %v; want the end", n, err)
	}
}
