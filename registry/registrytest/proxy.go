package registrytest

import (
	"net"
	"sync"
	"testing"
)

// A Proxy stands between a registry and the server that it speaks to over TCP,
// so that a test can sever their contact. It may be used concurrently.
type Proxy struct {
	t  testing.TB
	wg sync.WaitGroup

	mu       sync.Mutex
	addr     string
	to       string
	listener net.Listener // nil while contact is severed
	pairs    map[net.Conn]net.Conn
	most     int           // of them at a time
	mute     chan struct{} // closed when what is sent gets through again; nil while it does
}

// NewProxy starts a Proxy to the server at an address, host:port. It ends with
// the test.
func NewProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	p := &Proxy{t: t, to: to, addr: "127.0.0.1:0", pairs: make(map[net.Conn]net.Conn)}
	p.listen()
	t.Cleanup(func() {
		p.unmute()
		p.cut()
		p.wg.Wait()
	})
	return p
}

// Address returns where the Proxy listens, host:port. It stays the same.
func (p *Proxy) Address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr
}

// Sever ends all connections and refuses new ones, until restore is called.
func (p *Proxy) Sever() (restore func()) {
	p.cut()
	return p.listen
}

// Mute keeps connections and lets nothing through, until unmute is called: so a
// network is silent that lost its way.
func (p *Proxy) Mute() (unmute func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = make(chan struct{})
	return p.unmute
}

// Redirect leads the connections that come to another server.
func (p *Proxy) Redirect(to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = to
}

// Most returns how many connections there were at a time since it was last
// called.
func (p *Proxy) Most() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := p.most
	p.most = len(p.pairs)
	return most
}

func (p *Proxy) listen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, err := net.Listen("tcp", p.addr) //nolint:noctx // it is over at once
	if err != nil {
		p.t.Errorf("Listen(%s) error = %v", p.addr, err)
		return
	}
	p.listener, p.addr = l, l.Addr().String()
	p.wg.Go(func() { p.accept(l) })
}

func (p *Proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return
	}
	p.listener.Close()
	p.listener = nil
	for from, to := range p.pairs {
		from.Close()
		to.Close()
	}
}

func (p *Proxy) unmute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mute != nil {
		close(p.mute)
		p.mute = nil
	}
}

func (p *Proxy) accept(l net.Listener) {
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		address := p.to
		p.mu.Unlock()
		to, err := net.Dial("tcp", address) //nolint:noctx // loopback refuses at once, or takes it
		if err != nil {
			from.Close()
			continue
		}
		if !p.admit(l, from, to) {
			return
		}
	}
}

// admit passes on what a pair of connections sends, unless contact was severed
// meanwhile.
func (p *Proxy) admit(l net.Listener, from, to net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != l {
		from.Close()
		to.Close()
		return false
	}
	p.pairs[from] = to
	p.most = max(p.most, len(p.pairs))
	var both sync.WaitGroup
	both.Go(func() { p.pass(from, to) })
	both.Go(func() { p.pass(to, from) })
	p.wg.Go(func() {
		both.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.pairs, from)
	})
	return true
}

// pass hands on what comes, until either side is gone.
func (p *Proxy) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
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
