package server

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// distrust is how long an address is remembered from which a connection had to
	// be closed for what its client sent.
	distrust = time.Minute
	// maxOffenders is how many are remembered, and then forgotten together: who has
	// more addresses is not hindered by this.
	maxOffenders = 4096
)

// offenders remembers from where connections had to be closed for what their
// clients sent, so that who comes back at once may not send as much at once again.
// Who shares the address with such a client is not refused anything else. The zero
// value is ready for use.
type offenders struct {
	mu    sync.Mutex
	until map[netip.Addr]time.Time
}

func (o *offenders) add(a netip.Addr, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.until == nil || len(o.until) >= maxOffenders {
		o.until = make(map[netip.Addr]time.Time)
	}
	o.until[subscriber(a)] = now.Add(distrust)
}

func (o *offenders) has(a netip.Addr, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	until, ok := o.until[subscriber(a)]
	return ok && now.Before(until)
}
