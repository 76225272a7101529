package mdns

import (
	"log/slog"
	"slices"
	"time"
)

// run reads what is received, and does what is due, until Close.
func (r *Registry) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	scan := time.Now().Add(scanInterval)
	for {
		select {
		case <-r.life.Done():
			return
		case d := <-r.net.received:
			r.take(d)
			continue
		case <-r.wake:
		case <-timer.C:
		}
		for range len(r.net.received) { // who has answered is not silent
			r.take(<-r.net.received)
		}
		now := time.Now()
		if !scan.After(now) {
			r.scan(now)
			scan = now.Add(scanInterval)
		}
		next, sent := r.step(now)
		if !sent { // is there still an interface?
			scan = earlier(scan, now.Add(scanInterval/10))
		}
		timer.Reset(max(time.Until(earlier(next, scan)), pause))
	}
}

// step does what is due. It returns when to call again, and whether all that
// was to be sent left.
func (r *Registry) step(now time.Time) (next time.Time, sent bool) {
	r.mu.Lock()
	expired, messages, next := r.announcer.due(now)
	for _, key := range expired {
		r.remove(now, key)
	}
	var names []string
	if r.available {
		names, next = r.questions(now, next)
	}
	r.mu.Unlock()
	sent = true
	for _, data := range messages {
		sent = r.net.announce(data) && sent
	}
	for _, name := range names {
		sent = r.ask(name) && sent
	}
	return next, sent
}

// questions returns the names to be asked for, and when to call again. The lock
// is held.
func (r *Registry) questions(now, next time.Time) ([]string, time.Time) {
	changes := r.browser.changes
	names, due := r.browser.due(now)
	next = earlier(next, due)
	browsing := !r.browser.started.IsZero()
	begun := browsing && !r.ready && r.browser.ready(now)
	if browsing && !r.ready {
		next = earlier(next, now.Add(soon))
	}
	r.ready = r.ready || begun
	if begun || r.browser.changes != changes {
		r.notify()
	}
	return names, next
}

// take reads a datagram.
func (r *Registry) take(d datagram) {
	r.net.taken(d)
	from, ok := r.net.links.Load().sender(d.from.Addr(), d.index)
	if !ok {
		return
	}
	m, err := parse(d.data)
	if err != nil {
		return
	}
	if m.response {
		r.hear(m, from)
		return
	}
	unicast := d.from.Port() != mdnsPort || slices.ContainsFunc(m.questions, wishesUnicast)
	r.mu.Lock()
	answers := r.announcer.answers(time.Now(), m, unicast)
	r.mu.Unlock()
	for _, data := range answers {
		if unicast {
			r.net.reply(data, d.from)
		} else {
			r.net.announce(data)
		}
	}
}

// hear takes in what others say.
func (r *Registry) hear(m *message, from sender) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ours := func(e entry) bool { return e.target == r.announcer.target }
	if r.browser.started.IsZero() || slices.ContainsFunc(m.entries, ours) {
		return
	}
	changes, unasked := r.browser.changes, r.browser.unasked
	r.browser.hear(time.Now(), m, from)
	if r.browser.changes != changes {
		r.notify()
	}
	if unasked == 0 && r.browser.unasked > 0 {
		r.hurry()
	}
}

// scan sees to interfaces that came, went or changed.
func (r *Registry) scan(now time.Time) {
	usable, changed := r.net.scan()
	if !changed {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if usable {
		r.announcer.again(now)
		r.browser.listAt = now
	}
	if usable == r.available {
		return
	}
	r.available = usable
	if usable {
		r.browser.restart(now)
		r.ready = false
	}
	r.log.Warn("multicast DNS interfaces", slog.Bool("usable", usable))
	r.notify()
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
