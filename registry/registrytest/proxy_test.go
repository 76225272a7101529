package registrytest_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry/registrytest"
)

func TestProxySever(t *testing.T) {
	p := registrytest.NewProxy(t, echo(t, "a"))
	address := p.Address()
	conn := dial(t, address)
	want(t, conn, "a")
	for range 2 {
		restore := p.Sever()
		if _, err := bufio.NewReader(conn).ReadString('\n'); !errors.Is(err, io.EOF) {
			t.Errorf("Read of a connection that was severed error = %v, want EOF", err)
		}
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			t.Error("Dial without contact = nil, want that it is refused")
		}
		restore()
		conn = dial(t, address)
		want(t, conn, "a")
	}
	if p.Address() != address {
		t.Errorf("Address() with contact back = %s, want %s", p.Address(), address)
	}
}

func TestProxyMute(t *testing.T) {
	p := registrytest.NewProxy(t, echo(t, "a"))
	conn := dial(t, p.Address())
	want(t, conn, "a")
	unmute := p.Mute()
	if _, err := io.WriteString(conn, "later\n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read while it is mute error = %v, want %v", err, os.ErrDeadlineExceeded)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	unmute()
	if got, err := bufio.NewReader(conn).ReadString('\n'); got != "a later\n" || err != nil {
		t.Errorf("Read after that = %q, %v, want what was held back", got, err)
	}
}

func TestProxyRedirect(t *testing.T) {
	p := registrytest.NewProxy(t, echo(t, "a"))
	old := dial(t, p.Address())
	p.Redirect(echo(t, "b"))
	want(t, dial(t, p.Address()), "b")
	want(t, old, "a")
	if got := p.Most(); got != 2 {
		t.Errorf("Most() = %d, want 2", got)
	}
}

// TestProxyToNobody: whoever comes is sent away, and others may come later.
func TestProxyToNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p := registrytest.NewProxy(t, l.Addr().String())
	if _, err := dial(t, p.Address()).Read(make([]byte, 1)); err == nil {
		t.Error("Read of nobody = nil, want an error")
	}
	p.Redirect(echo(t, "a"))
	want(t, dial(t, p.Address()), "a")
}

// echo returns the address of a server that answers each line with its name
// before it.
func echo(t *testing.T, name string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					if _, err := io.WriteString(conn, name+" "+lines.Text()+"\n"); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// want fails unless a server of that name answers.
func want(t *testing.T, conn net.Conn, name string) {
	t.Helper()
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(conn).ReadString('\n'); got != name+" hello\n" || err != nil {
		t.Errorf("answer = %q, %v, want one of %s", got, err, name)
	}
}
