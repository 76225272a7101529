package handler

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
)

func TestRecent(t *testing.T) {
	type coming struct {
		position, id string
		attempt      int
	}
	tests := []struct {
		name string
		list []coming
		want string // for each: new, known, or late for new without its position
	}{
		{"again", []coming{{"p1", "1", 1}, {"p1", "1", 2}, {"p1", "1", 1}}, "new known known"},
		{"sent before, and lost", []coming{{"p1", "1", 1}, {"p3", "3", 1}, {"p2", "2", 2}, {"p2", "2", 3}}, "new new late known"},
		{"forgotten", []coming{{"p1", "", 1}, {"p2", "", 1}, {"p3", "", 1}, {"p4", "", 1}, {"p1", "", 2}, {"p4", "", 2}, {"p2", "", 2}}, "new new new new late known late"},
		{"two of one ID", []coming{{"p1", "1", 1}, {"p2", "1", 1}}, "new new"},
		{"no position", []coming{{"", "1", 1}, {"", "1", 1}, {"", "1", 2}, {"", "2", 2}}, "new new known new"},
		{"no name", []coming{{"", "", 1}, {"", "", 2}}, "new new"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRecent(3)
			var got []string
			for _, c := range tt.list {
				d := broker.NewDelivery(broker.Message{ID: c.id}, c.position, c.attempt, nil)
				switch {
				case r.knows(d):
					got = append(got, "known")
				case d.Position != c.position:
					got = append(got, "late")
				default:
					got = append(got, "new")
				}
			}
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("came = %s, want %s", got, tt.want)
			}
			if len(r.keys) > 3 {
				t.Errorf("%d are remembered, want at most 3", len(r.keys))
			}
		})
	}
}

func TestRingLink(t *testing.T) {
	q := ring{limit: 3}
	q.link("p0", "p9") // of which there is nothing yet
	_, _, changed := q.after("p0")
	q.add(numbered(t, 1))
	q.link("p0", "p2")
	if _, ok, _ := q.after("p0"); ok {
		t.Error("a position is known that comes before another than the first")
	}
	q.link("p0", "p1")
	<-changed
	if place, ok, _ := q.after("p0"); place != 0 || !ok {
		t.Errorf("after(p0) = %d, %v; want 0", place, ok)
	}
	later := ring{limit: 3}
	_, _, changed = later.after("p0")
	later.link("p0", "p1")
	later.add(numbered(t, 1))
	<-changed
	if place, ok, _ := later.after("p0"); place != 0 || !ok {
		t.Errorf("after(p0) of what came later = %d, %v; want 0", place, ok)
	}
	if _, ok, _ := q.after(""); ok {
		t.Error("no position is known")
	}
}

// publishN publishes so many messages of a size on a topic.
func publishN(t *testing.T, b broker.Publisher, topic string, n, size int) {
	t.Helper()
	for range n {
		if err := b.Publish(t.Context(), topic, &broker.Message{Body: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHubBoundsBytes holds that all topics share what may be held, that those
// who keep up miss nothing, and that all of it is given back.
func TestHubBoundsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 10 << 20
		var mem broker.Memory
		h := newHub(&mem, (&BrokerOptions{MaxHeld: limit, Queue: 5}).orDefault(mem.Capabilities()))
		var slow []*tail
		for i := range 20 {
			tl, err := h.tail(t.Context(), fmt.Sprint("t", i), broker.SubscribeOptions{}, math.MaxInt)
			if err != nil {
				t.Fatal(err)
			}
			slow = append(slow, tl)
		}
		quick, err := h.tail(t.Context(), "t0", broker.SubscribeOptions{}, math.MaxInt)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			publishN(t, &mem, fmt.Sprint("t", i), 3, 300<<10)
			synctest.Wait()
			if free := h.held.free.Load(); free < 0 {
				t.Fatalf("%d bytes are held, want at most %d", limit-free, limit)
			}
			if i > 0 {
				continue
			}
			for n := 0; n < 3; {
				items, _, err := quick.take()
				if err != nil || len(items) == 0 {
					t.Fatalf("take = %d items, %v", len(items), err)
				}
				n += len(items)
			}
		}
		cut := 0
		for _, tl := range slow {
			if _, _, err := tl.take(); errors.Is(err, errSlow) {
				cut++
			}
			tl.close()
		}
		if cut == 0 {
			t.Error("no slow client was cut off")
		}
		quick.close()
		if free := h.held.free.Load(); free != limit {
			t.Errorf("%d bytes are held of nothing", limit-free)
		}
	})
}

// TestHubLargerThanAll holds that a message which there is no room for ends
// those who were to get it, and nobody else.
func TestHubLargerThanAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mem broker.Memory
		h := newHub(&mem, (&BrokerOptions{MaxHeld: 1 << 20}).orDefault(mem.Capabilities()))
		tl, err := h.tail(t.Context(), "orders", broker.SubscribeOptions{}, math.MaxInt)
		if err != nil {
			t.Fatal(err)
		}
		defer tl.close()
		publishN(t, &mem, "orders", 1, 600<<10)
		synctest.Wait()
		later, err := h.tail(t.Context(), "orders", broker.SubscribeOptions{}, math.MaxInt)
		if err != nil {
			t.Fatal(err)
		}
		defer later.close()
		if _, _, err := tl.take(); !errors.Is(err, errSlow) {
			t.Errorf("take = %v, want errSlow", err)
		}
		past, err := h.tail(t.Context(), "orders", broker.SubscribeOptions{Start: broker.Start{Earliest: true}}, math.MaxInt)
		if err != nil {
			t.Fatal(err)
		}
		defer past.close()
		synctest.Wait()
		if _, _, err := past.take(); goapi.Status(err) != 503 {
			t.Errorf("take from the past = %v, want 503", err)
		}
		publishN(t, &mem, "orders", 1, 10)
		synctest.Wait()
		if items, _, err := later.take(); len(items) != 1 || err != nil {
			t.Errorf("take of who came later = %d items, %v; want 1", len(items), err)
		}
	})
}

// TestPumpBoundsBytes holds that a client which catches up slowly is ahead by no
// more than a pump may be.
func TestPumpBoundsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mem broker.Memory
		h := testHub(&mem, 100, time.Second)
		publishN(t, &mem, "orders", 30, pumpBytes/4)
		tl, err := h.tail(t.Context(), "orders", broker.SubscribeOptions{Start: broker.Start{Earliest: true}}, math.MaxInt)
		if err != nil {
			t.Fatal(err)
		}
		defer tl.close()
		for n := 0; n < 30; {
			synctest.Wait()
			if got := tl.own.bytes.Load(); got > pumpBytes {
				t.Fatalf("%d bytes wait for the client, want at most %d", got, pumpBytes)
			}
			items, _, err := tl.take()
			if err != nil || len(items) == 0 {
				t.Fatalf("take = %d items, %v, after %d", len(items), err, n)
			}
			tl.written(t.Context())
			n += len(items)
		}
	})
}

// TestHubTurns holds that clients wait in line to catch up, are refused in the
// end, and go on when others are done.
func TestHubTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(lateBroker)
		h := testHub(b, 100, 10*time.Second)
		publishN(t, &b.Memory, "orders", 300, 10)
		past := broker.SubscribeOptions{Start: broker.Start{Earliest: true}}
		var ends []context.CancelFunc // of clients that take what they get
		var clients sync.WaitGroup
		for range maxCatchUp {
			tl, err := h.tail(t.Context(), "orders", past, math.MaxInt)
			if err != nil {
				t.Fatal(err)
			}
			ctx, end := context.WithCancel(t.Context())
			ends = append(ends, end)
			clients.Go(func() { follow(ctx, tl) })
		}
		start := time.Now()
		if _, err := h.tail(t.Context(), "orders", past, math.MaxInt); goapi.Status(err) != 503 || time.Since(start) != 10*time.Second {
			t.Errorf("tail = %v after %v, want 503 after 10s", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.tail(ctx, "orders", past, math.MaxInt); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("tail of one who leaves = %v, want a deadline", err)
		}
		if now, err := h.tail(t.Context(), "orders", broker.SubscribeOptions{}, math.MaxInt); err != nil {
			t.Errorf("tail from now on = %v, want no waiting", err)
		} else {
			now.close()
		}
		time.AfterFunc(time.Second, ends[0])
		tl, err := h.tail(t.Context(), "orders", past, math.MaxInt)
		if err != nil {
			t.Fatalf("tail when another is done = %v", err)
		}
		tl.close()
		for _, end := range ends {
			end()
		}
		clients.Wait()
		if len(h.turns) > 0 {
			t.Errorf("%d turns are taken by nobody", len(h.turns))
		}
	})
}

// TestHubTurnsOfSlowClients holds that clients that take nothing, or next to nothing,
// do not keep others from catching up, on any topic.
func TestHubTurnsOfSlowClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mem broker.Memory
		h := testHub(&mem, 100, 10*time.Second)
		publishN(t, &mem, "orders", 100, 100<<10)
		publishN(t, &mem, "others", 3, 10)
		past := broker.SubscribeOptions{Start: broker.Start{Earliest: true}}
		var slow []*tail
		for range maxCatchUp {
			tl, err := h.tail(t.Context(), "orders", past, math.MaxInt)
			if err != nil {
				t.Fatal(err)
			}
			slow = append(slow, tl)
		}
		some := make(chan struct{})
		time.AfterFunc(pumpSlow/2, func() { // of which some bit is taken
			defer close(some)
			for _, tl := range slow {
				_, _, _ = tl.take() // what is not written again
			}
		})
		start := time.Now()
		tl, err := h.tail(t.Context(), "others", past, math.MaxInt)
		if took := time.Since(start); err != nil || took > 2*pumpSlow {
			t.Fatalf("tail of another topic = %v after %v, want no error within %v", err, took, 2*pumpSlow)
		}
		tl.close()
		<-some
		for _, tl := range slow {
			tl.close()
		}
		if len(h.turns) > 0 {
			t.Errorf("%d turns are taken by nobody", len(h.turns))
		}
	})
}

// follow takes what there is for a client, until ctx is done.
func follow(ctx context.Context, tl *tail) {
	defer tl.close()
	for {
		items, changed, err := tl.take()
		if err != nil {
			return
		}
		if len(items) > 0 {
			tl.written(ctx)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// A lateBroker takes its time for each message.
type lateBroker struct{ broker.Memory }

func (b *lateBroker) Subscribe(ctx context.Context, topic string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
	sub, err := b.Memory.Subscribe(ctx, topic, opts)
	return lateSubscription{sub}, err
}

type lateSubscription struct{ broker.Subscription }

func (s lateSubscription) Next(ctx context.Context) (*broker.Delivery, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(pumpQuiet / 2):
	}
	return s.Subscription.Next(ctx)
}

// TestHubAfterRestart holds that thousands who come back with the position they
// had are all served, whether anything is published meanwhile or not.
func TestHubAfterRestart(t *testing.T) {
	for _, busy := range []bool{false, true} {
		t.Run(fmt.Sprint("busy ", busy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testAfterRestart(t, busy) })
		})
	}
}

func testAfterRestart(t *testing.T, busy bool) {
	const clients = 3000
	var mem broker.Memory
	h := testHub(&mem, 1000, 30*time.Second)
	sub, err := mem.Subscribe(t.Context(), "orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	publishN(t, &mem, "orders", 1, 10)
	d, err := sub.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = sub.Close()
	came := make(chan error, clients)
	own := make(chan bool, clients)
	all := make(chan struct{})
	defer close(all)
	for range clients {
		go func() { // ends when all have the first message
			tl, err := h.tail(t.Context(), "orders", broker.SubscribeOptions{Start: broker.Start{After: d.Position}}, math.MaxInt)
			if err != nil {
				came <- err
				return
			}
			defer tl.close()
			own <- tl.own != nil
			for {
				items, changed, err := tl.take()
				if len(items) > 0 || err != nil {
					came <- err
					<-all
					return
				}
				<-changed
			}
		}()
	}
	if !busy {
		time.Sleep(20 * time.Second)
	}
	synctest.Wait()
	publishN(t, &mem, "orders", 1, 10)
	for range clients {
		if err := <-came; err != nil {
			t.Fatalf("a client was refused: %v", err)
		}
	}
	owns := 0
	for range clients {
		if <-own {
			owns++
		}
	}
	if busy && owns > 2*maxCatchUp {
		t.Errorf("%d clients had subscriptions of their own, want few", owns)
	}
}

// TestHubLeave holds that the subscription of a topic has ended when the last
// client has left.
func TestHubLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowCloser{}
		h := testHub(b, 10, time.Second)
		f, err := h.join(t.Context(), "orders")
		if err != nil {
			t.Fatal(err)
		}
		h.leave(f)
		if !b.closed {
			t.Error("the last client has left, and the subscription has not ended")
		}
	})
}

// slowCloser is a broker whose subscriptions take a while to close.
type slowCloser struct {
	broker.Memory

	closed bool
}

func (b *slowCloser) Subscribe(ctx context.Context, topic string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
	sub, err := b.Memory.Subscribe(ctx, topic, opts)
	return &slowlyClosed{sub, b}, err
}

type slowlyClosed struct {
	broker.Subscription

	of *slowCloser
}

func (s *slowlyClosed) Close() error {
	time.Sleep(time.Second)
	s.of.closed = true
	return s.Subscription.Close()
}
