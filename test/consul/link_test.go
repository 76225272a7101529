package consul_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A link carries connections to an agent, until it is cut.
type link struct {
	t  testing.TB
	to string

	mu    sync.Mutex
	l     net.Listener
	at    string
	conns map[net.Conn]bool
	most  int // connections at a time
	runs  sync.WaitGroup
}

func newLink(t testing.TB, to string) *link {
	t.Helper()
	k := &link{t: t, to: to, at: "127.0.0.1:0", conns: make(map[net.Conn]bool)}
	k.listen()
	t.Cleanup(func() {
		k.down()
		k.runs.Wait()
	})
	return k
}

func (k *link) address() string { return k.at }

// mostAtOnce returns how many connections there were at a time, and counts anew.
func (k *link) mostAtOnce() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	most := k.most
	k.most = len(k.conns) / 2
	return most
}

func (k *link) listen() {
	k.t.Helper()
	l, err := net.Listen("tcp", k.at)
	if err != nil {
		k.t.Fatal(err)
	}
	k.mu.Lock()
	k.l, k.at = l, l.Addr().String()
	k.mu.Unlock()
	k.runs.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			k.runs.Go(func() { k.carry(c) })
		}
	})
}

// carry copies both ways until either side ends.
func (k *link) carry(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", k.to)
	if err != nil {
		return
	}
	defer s.Close()
	k.mu.Lock()
	k.conns[c], k.conns[s] = true, true
	k.most = max(k.most, len(k.conns)/2)
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		delete(k.conns, c)
		delete(k.conns, s)
		k.mu.Unlock()
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(s, c)
		s.Close()
	}()
	io.Copy(c, s)
	c.Close()
	<-done
}

// down ends the link, and all that it carries.
func (k *link) down() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.l.Close()
	for c := range k.conns {
		c.Close()
	}
}

// cut ends the link and returns a function that restores it.
func (k *link) cut() (restore func()) {
	k.down()
	return k.listen
}
