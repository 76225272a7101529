package push_test

import (
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
)

// moments returns an answer, and a function that returns when it was given, since
// now.
func moments(answer http.HandlerFunc) (http.HandlerFunc, func(t *testing.T) time.Duration) {
	began := time.Now()
	at := make(chan time.Duration, 1000)
	return func(w http.ResponseWriter, r *http.Request) {
			at <- time.Since(began)
			answer(w, r)
		}, func(t *testing.T) time.Duration {
			t.Helper()
			select {
			case d := <-at:
				return d
			case <-time.After(24 * time.Hour):
				t.Fatal("nothing came in a day")
				return 0
			}
		}
}

// TestBackoff: each wait is up to twice as long as the one before, to a bound,
// and no less than half of that.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		answer, next := moments(always(http.StatusInternalServerError))
		n, _ := w.serve(t, "10.0.0.1:80", answer)
		g := start(t, new(broker.Memory), push.Options{DialContext: w.DialContext, Delay: 500 * time.Millisecond})
		letter := g.letters(t)
		g.announce(t, "mailer", n, "orders")
		g.subscribed(t, "orders")
		g.publish(t, "orders", "1", "x")
		last := next(t)
		want := 500 * time.Millisecond
		for i := range 11 {
			at := next(t)
			if wait := at - last; wait < want/2 || wait > want+time.Millisecond {
				t.Errorf("wait %d = %v, want %v to %v", i+1, wait, want/2, want)
			}
			last, want = at, min(2*want, 5*time.Minute)
		}
		if l := letter(); l.Header["Goapi-Dead-Letter-Attempts"] != "12" {
			t.Errorf("attempts = %s, want 12", l.Header["Goapi-Dead-Letter-Attempts"])
		}
	})
}

// TestSettledInTime: an attempt may take all of its time, and the broker some
// more to take the dead letter: the message does not come again meanwhile.
func TestSettledInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		n, _ := w.serve(t, "10.0.0.1:80", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		b := newTap(new(broker.Memory))
		b.publishes = func(topic string) error {
			if topic != "orders" {
				time.Sleep(9 * time.Second)
			}
			return nil
		}
		g := start(t, b, push.Options{DialContext: w.DialContext, Timeout: 7 * time.Second, MaxAttempts: 1, Delay: time.Millisecond})
		letter := g.letters(t)
		g.announce(t, "mailer", n, "orders")
		g.subscribed(t, "orders")
		g.publish(t, "orders", "1", "x")
		letter()
		time.Sleep(time.Hour)
		if got := n.ids(t, 1)[0]; got != "1" {
			t.Errorf("came %q, want 1", got)
		}
		wantNone(t, n)
	})
}

// TestLetterHasNoPlace: a message that cannot be made a dead letter comes again,
// and the service is left alone for a while before each time.
func TestLetterHasNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		answer, next := moments(always(http.StatusBadRequest))
		n, _ := w.serve(t, "10.0.0.1:80", answer)
		b := newTap(new(broker.Memory))
		b.publishes = func(topic string) error {
			if topic != "orders" {
				return broker.ErrTooLarge // even of what is cut
			}
			return nil
		}
		g := start(t, b, push.Options{DialContext: w.DialContext, Delay: time.Second, MaxDelay: time.Minute})
		g.announce(t, "mailer", n, "orders")
		g.subscribed(t, "orders")
		g.publish(t, "orders", "1", "x")
		last := next(t)
		for i := range 20 {
			at := next(t)
			if wait := at - last; wait < 5*time.Second || wait > time.Minute+time.Millisecond {
				t.Errorf("wait %d = %v, want 5 s to a minute", i+1, wait)
			}
			last = at
		}
		if last < 5*time.Minute {
			t.Errorf("20 attempts took %v, want that the waits grow", last)
		}
		if got := g.log.count("could not be made a dead letter"); got == 0 {
			t.Error("the log says nothing")
		}
	})
}

// TestFetchedSlowly: a broker that is away is asked again and again, but later and
// later.
func TestFetchedSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		n, _ := w.serve(t, "10.0.0.1:80", nil)
		g := start(t, new(broker.Memory), push.Options{DialContext: w.DialContext})
		g.announce(t, "mailer", n, "orders")
		g.subscribed(t, "orders")
		var asked atomic.Int64
		g.mu.Lock()
		g.next = func() error {
			asked.Add(1)
			return broker.ErrUnavailable
		}
		g.mu.Unlock()
		g.publish(t, "orders", "1", "x") // ends the call that is under way
		time.Sleep(10 * time.Minute)
		if got := asked.Load(); got < 30 || got > 100 {
			t.Errorf("in 10 minutes the broker was asked %d times, want once in 10 s or so", got)
		}
		g.fail(&g.next, nil)
		g.publish(t, "orders", "2", "x")
		n.ids(t, 2)
	})
}

// TestServiceAsksToWait: Retry-After is obeyed, within bounds.
func TestServiceAsksToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		asked := []string{"20", "100000"}
		answer, next := moments(func(w http.ResponseWriter, _ *http.Request) {
			if len(asked) > 0 {
				w.Header().Set("Retry-After", asked[0])
				w.WriteHeader(http.StatusTooManyRequests)
				asked = asked[1:]
			}
		})
		n, _ := w.serve(t, "10.0.0.1:80", answer)
		g := start(t, new(broker.Memory), push.Options{DialContext: w.DialContext, Delay: time.Second})
		g.announce(t, "mailer", n, "orders")
		g.subscribed(t, "orders")
		g.publish(t, "orders", "1", "x")
		first := next(t)
		second := next(t)
		third := next(t)
		if a, b := second-first, third-second; a.Round(time.Second) != 20*time.Second || b.Round(time.Second) != 5*time.Minute {
			t.Errorf("waits = %v and %v, want 20 s as asked and 5 min at most", a, b)
		}
	})
}

// TestTimeout: a service that does not answer fails an attempt.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		answer, next := moments(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		n, _ := w.serve(t, "10.0.0.1:80", answer)
		g := start(t, new(broker.Memory), push.Options{DialContext: w.DialContext, Timeout: 7 * time.Second, MaxAttempts: 2, Delay: time.Millisecond})
		letter := g.letters(t)
		g.announce(t, "mailer", n, "orders")
		g.subscribed(t, "orders")
		g.publish(t, "orders", "1", "x")
		first, second := next(t), next(t)
		if wait := second - first; wait.Round(time.Second) != 7*time.Second {
			t.Errorf("the second attempt came after %v, want 7 s", wait)
		}
		if got, want := letter().Header["Goapi-Dead-Letter-Reason"], "the service did not answer in time"; got != want {
			t.Errorf("reason = %q, want %q", got, want)
		}
	})
}

// TestStalledBody: an answer is here with its head; a body that does not come
// takes a second.
func TestStalledBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		answer, next := moments(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		n, _ := w.serve(t, "10.0.0.1:80", answer)
		g := start(t, new(broker.Memory), push.Options{DialContext: w.DialContext, InFlight: 1})
		g.announce(t, "mailer", n, "orders")
		g.subscribed(t, "orders")
		g.publish(t, "orders", "1", "x")
		g.publish(t, "orders", "2", "x")
		if wait := -next(t) + next(t); wait > 1100*time.Millisecond {
			t.Errorf("the second message came %v after the first, want a second", wait)
		}
		if got := n.ids(t, 2); got[0] != "1" || got[1] != "2" {
			t.Errorf("came %q, want each once", got)
		}
	})
}

// TestServiceIsDown: a service that fails everything is sent little, so that few
// messages are given up for it; when it is back, all of them come.
func TestServiceIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		var up atomic.Bool
		var asked atomic.Int64
		n, _ := w.serve(t, "10.0.0.1:80", func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			if !up.Load() {
				w.WriteHeader(http.StatusInternalServerError)
			}
		})
		g := start(t, new(broker.Memory), push.Options{DialContext: w.DialContext})
		g.announce(t, "mailer", n, "orders")
		g.subscribed(t, "orders")
		const all = 5000
		for i := range all {
			g.publish(t, "orders", strconv.Itoa(i), "x")
		}
		time.Sleep(10 * time.Minute)
		if got := asked.Load(); got > 300 {
			t.Errorf("in 10 minutes the service was sent %d messages, want 1 in 5 s or so", got)
		}
		before := asked.Swap(0)
		up.Store(true)
		time.Sleep(time.Minute)
		list, err := g.DeadLetters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := int(asked.Load()) + len(list.DeadLetters); got != all {
			t.Errorf("%d messages came and %d were given up (%d were sent before), want %d together", asked.Load(), len(list.DeadLetters), before, all)
		}
	})
}

// TestNoNodes: while no node can take it a message waits, and that is no attempt.
// A node of weight with a match is there for nobody who does not ask for it.
func TestNoNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		n, _ := w.serve(t, "10.0.0.1:80", statuses(500, 500))
		g := start(t, new(broker.Memory), push.Options{DialContext: w.DialContext, MaxAttempts: 3})
		g.announce(t, "mailer", n.of("match", "X-Tenant:a"), "orders")
		g.subscribed(t, "orders")
		g.publish(t, "orders", "1", "x")
		time.Sleep(10 * time.Minute)
		wantNone(t, n)
		g.announce(t, "mailer", n, "orders")
		n.ids(t, 3)
		time.Sleep(10 * time.Minute)
		wantNone(t, n)
		list, err := g.DeadLetters(t.Context())
		if err != nil || len(list.DeadLetters) > 0 {
			t.Errorf("dead letters = %v, %v; want none: two attempts failed, of three", list, err)
		}
	})
}

// TestStopIsBounded: a service that never answers does not hold up the end of Run,
// and what it was sent comes again: that was no attempt.
func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		n, _ := w.serve(t, "10.0.0.1:80", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		memory := new(broker.Memory)
		g := start(t, memory, push.Options{DialContext: w.DialContext, MaxAttempts: 1})
		g.announce(t, "mailer", n, "orders")
		g.subscribed(t, "orders")
		g.publish(t, "orders", "1", "x")
		n.ids(t, 1)
		began := time.Now()
		g.stop()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("Run ended after %v, want 5 s", took)
		}
		if got := g.log.count("dead letter"); got > 0 {
			t.Errorf("the log has %d lines of dead letters, want none: the attempt was the gateway's to end", got)
		}
		join(t, g.registry, memory, push.Options{DialContext: w.DialContext})
		if got := n.ids(t, 1)[0]; got != "1" {
			t.Errorf("the next gateway pushed %q, want 1", got)
		}
	})
}

// TestLogIsBounded: of many messages that are given up the log tells a few.
func TestLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		n, _ := w.serve(t, "10.0.0.1:80", always(http.StatusBadRequest))
		g := start(t, new(broker.Memory), push.Options{DialContext: w.DialContext})
		g.announce(t, "mailer", n, "orders")
		g.subscribed(t, "orders")
		for i := range 3 {
			for j := range 100 {
				g.publish(t, "orders", fmt.Sprintf("%d-%d", i, j), "x")
			}
			time.Sleep(61 * time.Second)
		}
		if got := g.log.count("given up"); got != 3 {
			t.Errorf("the log has %d lines of messages that were given up, want 3", got)
		}
		if g.log.count("given up", "more=99") != 2 {
			t.Error("the log does not say how many more there were")
		}
	})
}
