package etcd_test

import (
	"net"
	"sync"
	"testing"
)

// A proxy stands between registries and a server, so that contact can be lost.
type proxy struct {
	t    testing.TB
	to   string
	addr string

	mu       sync.Mutex
	listener net.Listener // nil while contact is cut
	pairs    map[net.Conn]net.Conn
	mute     chan struct{} // closed when what is sent gets through again; nil while it does
	wg       sync.WaitGroup
}

// newProxy starts a proxy that ends with the test.
func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	p := &proxy{t: t, to: to, addr: "127.0.0.1:0", pairs: make(map[net.Conn]net.Conn)}
	p.mend()
	t.Cleanup(func() {
		p.speak()
		p.cut()
		p.wg.Wait()
	})
	return p
}

// cut ends all connections, and refuses new ones.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return
	}
	p.listener.Close()
	p.listener = nil
	for a, b := range p.pairs {
		a.Close()
		b.Close()
	}
}

// mend takes connections, at the same address as before.
func (p *proxy) mend() {
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Errorf("Listen(%s) error = %v", p.addr, err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener, p.addr = l, l.Addr().String()
	p.wg.Go(func() { p.accept(l) })
}

// silence keeps connections, and lets nothing through.
func (p *proxy) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = make(chan struct{})
}

// speak lets through what was held back.
func (p *proxy) speak() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mute != nil {
		close(p.mute)
		p.mute = nil
	}
}

// redirect leads connections to another server from now on.
func (p *proxy) redirect(to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = to
}

func (p *proxy) accept(l net.Listener) {
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		address := p.to
		p.mu.Unlock()
		to, err := net.Dial("tcp", address)
		if err != nil {
			from.Close()
			continue
		}
		p.mu.Lock()
		p.pairs[from] = to
		cut := p.listener != l
		p.mu.Unlock()
		if cut {
			from.Close()
			to.Close()
		}
		p.wg.Go(func() { p.pass(from, to) })
		p.wg.Go(func() { p.pass(to, from) })
	}
}

// pass hands on what comes, until either side is gone.
func (p *proxy) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.pairs, from)
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		mute := p.mute
		p.mu.Unlock()
		if mute != nil {
			<-mute
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
