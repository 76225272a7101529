package mdns

import "time"

// A budget is what may be spent in a time: it fills at rate per second, up to
// burst.
type budget struct {
	rate, burst float64

	left float64
	at   time.Time
}

// take spends n; false when there is not enough left.
func (b *budget) take(now time.Time, n float64) bool {
	if b.at.IsZero() {
		b.left = b.burst
	} else {
		b.left = min(b.burst, b.left+b.rate*max(0, now.Sub(b.at).Seconds()))
	}
	b.at = now
	if b.left < n {
		return false
	}
	b.left -= n
	return true
}
