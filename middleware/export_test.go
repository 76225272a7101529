package middleware

// MaxWaiting is how many passwords wait for their turn to be checked.
const MaxWaiting = maxWaiting

// Occupy has b check one password at a time, and takes the turn until release is
// called: what b has to check waits, however many processors there are. Nobody
// else uses b when it is called.
func (b *Basic) Occupy() (release func()) {
	b.checking = make(chan struct{}, 1)
	b.checking <- struct{}{}
	return b.leave
}
