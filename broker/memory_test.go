package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/brokertest"
)

func TestMemory(t *testing.T) {
	brokertest.Run(t, func(testing.TB) broker.Broker {
		return &broker.Memory{MaxMessages: 300}
	}, &brokertest.Options{FakeClock: true, History: 300})
}

// TestMemoryIsBounded: by number, by bytes, and topics that are empty are gone.
func TestMemoryIsBounded(t *testing.T) {
	tests := []struct {
		name string
		b    *broker.Memory
		want int // of messages of 100 bytes
	}{
		{"messages", &broker.Memory{MaxMessages: 10}, 10},
		{"bytes", &broker.Memory{MaxBytes: 1000}, 9}, // and their IDs
		{"nothing fits", &broker.Memory{MaxBytes: 50}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i := range 100 {
				publish(t, tt.b, "orders", fmt.Sprint(i), strings.Repeat("x", 100))
			}
			s := subscribe(t, tt.b, "orders", &broker.SubscribeOptions{Start: broker.Start{Earliest: true}})
			for i := range tt.want {
				if got, want := next(t, s).ID, fmt.Sprint(100-tt.want+i); got != want {
					t.Errorf("Next() = %q, want %q", got, want)
				}
			}
			wantNone(t, s)
		})
	}
}

// TestMemoryDropsWhatWaits: what is dropped while it waits to be delivered
// again is gone, too, and does not hold its body.
func TestMemoryDropsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker.Memory{MaxMessages: 3}
		s := subscribe(t, b, "orders", nil)
		publish(t, b, "orders", "1", "")
		if err := next(t, s).Nack(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"2", "3", "4"} {
			publish(t, b, "other", id, "")
		}
		time.Sleep(time.Hour)
		wantNone(t, s)
		publish(t, b, "orders", "5", "")
		if got := next(t, s).ID; got != "5" {
			t.Errorf("Next() = %q, want 5", got)
		}
	})
}

// TestMemoryKnowsIDsOfWhatItKeeps: an ID is forgotten with its message.
func TestMemoryKnowsIDsOfWhatItKeeps(t *testing.T) {
	b := &broker.Memory{MaxMessages: 2, Dedup: time.Hour}
	s := subscribe(t, b, "orders", nil)
	want := func(id string) {
		t.Helper()
		if got := next(t, s).ID; got != id {
			t.Errorf("Next() = %q, want %q", got, id)
		}
	}
	publish(t, b, "orders", "1", "")
	publish(t, b, "orders", "1", "")
	want("1")
	publish(t, b, "orders", "2", "")
	publish(t, b, "orders", "1", "")
	want("2")
	publish(t, b, "orders", "3", "")
	publish(t, b, "orders", "1", "")
	want("3")
	want("1")
}

func TestMemoryForgetsIdleGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker.Memory{GroupIdle: time.Hour}
		opts := &broker.SubscribeOptions{Group: "workers"}
		first := subscribe(t, b, "orders", opts)
		second := subscribe(t, b, "orders", opts)
		first.Close()
		time.Sleep(2 * time.Hour) // one is left
		publish(t, b, "orders", "1", "")
		second.Close()

		time.Sleep(time.Hour - 1)
		third := subscribe(t, b, "orders", opts)
		if got := next(t, third).ID; got != "1" {
			t.Errorf("Next() of a group that was away for less than GroupIdle = %q, want 1", got)
		}
		time.Sleep(2 * time.Hour) // coming back stopped the clock
		third.Close()
		time.Sleep(time.Hour)
		synctest.Wait()
		wantNone(t, subscribe(t, b, "orders", opts))
	})
}

// TestMemoryNextAcrossTime: Next returns when something is due, and not before.
func TestMemoryNextAcrossTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b broker.Memory
		s := subscribe(t, &b, "orders", &broker.SubscribeOptions{InFlight: 1, AckWait: time.Minute})
		for _, id := range []string{"1", "2"} {
			publish(t, &b, "orders", id, "")
		}
		begun := time.Now()
		at := func(id string, attempt int, after time.Duration) *broker.Delivery {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			d, err := s.Next(ctx)
			if err != nil || d.ID != id || d.Attempt != attempt || time.Since(begun) != after {
				t.Fatalf("Next() = %v, %v after %v, want %s, attempt %d, after %v", d, err, time.Since(begun), id, attempt, after)
			}
			return d
		}
		at("1", 1, 0)
		again := at("1", 2, time.Minute)
		if err := again.Nack(t.Context(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		second := at("2", 1, time.Minute)
		time.Sleep(30 * time.Second)
		if err := second.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		last := at("1", 3, 90*time.Second)
		time.Sleep(2 * time.Minute)
		if err := last.Ack(t.Context()); err != nil { // overdue, but nobody has it
			t.Fatal(err)
		}
		wantNone(t, s)
	})
}

func TestMemorySettlesWithContext(t *testing.T) {
	var b broker.Memory
	s := subscribe(t, &b, "orders", nil)
	publish(t, &b, "orders", "1", "")
	d := next(t, s)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Ack(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("Ack() with a canceled context error = %v, want %v", err, context.Canceled)
	}
	if err := d.Ack(t.Context()); err != nil {
		t.Errorf("Ack() after one that failed error = %v, want nil", err)
	}
}

// TestMemoryPositionsAreItsOwn: a browser may bring one of another process.
func TestMemoryPositionsAreItsOwn(t *testing.T) {
	var old, b broker.Memory
	s := subscribe(t, &old, "orders", nil)
	publish(t, &old, "orders", "1", "")
	position := next(t, s).Position
	for _, id := range []string{"1", "2"} {
		publish(t, &b, "orders", id, "")
	}
	_, err := b.Subscribe(t.Context(), "orders", &broker.SubscribeOptions{Start: broker.Start{After: position}})
	if !errors.Is(err, broker.ErrPosition) {
		t.Errorf("Subscribe() after a position of another Memory error = %v, want ErrPosition", err)
	}
}

// TestMemoryLosesNothing does anything that members of a group can do, in any
// order: in the end each message was acknowledged once, after as many attempts
// as it says.
func TestMemoryLosesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			g := &group{t: t, acked: make(map[string]int), attempts: make(map[string]int)}
			rt.Repeat(map[string]func(*rapid.T){
				"publish": func(*rapid.T) { g.publish() },
				"join":    func(*rapid.T) { g.join() },
				"next":    func(rt *rapid.T) { g.next(rt) },
				"ack":     func(rt *rapid.T) { g.settle(rt, func(d *broker.Delivery) error { return d.Ack(t.Context()) }, true) },
				"nack": func(rt *rapid.T) {
					g.settle(rt, func(d *broker.Delivery) error { return d.Nack(t.Context(), time.Second) }, false)
				},
				"leave": func(rt *rapid.T) { g.leave(rt) },
				"wait":  func(*rapid.T) { time.Sleep(time.Second) },
			})
			g.drain()
		})
	})
}

// group is a group, its members and what they have.
type group struct {
	t         *testing.T
	b         broker.Memory
	published int
	members   []broker.Subscription
	held      []*broker.Delivery
	acked     map[string]int
	attempts  map[string]int
}

func (g *group) publish() {
	g.published++
	publish(g.t, &g.b, "orders", fmt.Sprint(g.published), "")
}

func (g *group) join() {
	s, err := g.b.Subscribe(g.t.Context(), "orders", &broker.SubscribeOptions{
		Group: "workers", Start: broker.Start{Earliest: true}, InFlight: 2, AckWait: 3 * time.Second,
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.members = append(g.members, s)
}

func (g *group) next(rt *rapid.T) {
	if len(g.members) == 0 {
		return
	}
	g.take(rapid.SampledFrom(g.members).Draw(rt, "member"))
}

func (g *group) take(s broker.Subscription) bool {
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Nanosecond)
	defer cancel()
	d, err := s.Next(ctx)
	if err != nil {
		return false
	}
	if g.attempts[d.ID]++; d.Attempt != g.attempts[d.ID] || g.acked[d.ID] > 0 {
		g.t.Fatalf("message %s: attempt %d, want %d, after %d acknowledgements", d.ID, d.Attempt, g.attempts[d.ID], g.acked[d.ID])
	}
	g.held = append(g.held, d)
	return true
}

func (g *group) settle(rt *rapid.T, f func(d *broker.Delivery) error, ends bool) {
	if len(g.held) == 0 {
		return
	}
	i := rapid.IntRange(0, len(g.held)-1).Draw(rt, "delivery")
	d := g.held[i]
	g.held = append(g.held[:i:i], g.held[i+1:]...)
	if err := f(d); err == nil && ends {
		g.acked[d.ID]++
	}
}

func (g *group) leave(rt *rapid.T) {
	if len(g.members) == 0 {
		return
	}
	i := rapid.IntRange(0, len(g.members)-1).Draw(rt, "member")
	g.members[i].Close()
	g.members = append(g.members[:i:i], g.members[i+1:]...)
}

// drain acknowledges all that is left.
func (g *group) drain() {
	for _, s := range g.members {
		s.Close()
	}
	time.Sleep(time.Minute)
	g.members, g.held = nil, nil
	g.join()
	for g.take(g.members[0]) {
		d := g.held[0]
		g.held = nil
		if err := d.Ack(g.t.Context()); err != nil {
			g.t.Fatal(err)
		}
		g.acked[d.ID]++
	}
	g.members[0].Close()
	for i := range g.published {
		if id := fmt.Sprint(i + 1); g.acked[id] == 0 {
			g.t.Fatalf("message %s of %d was never acknowledged", id, g.published)
		}
	}
}

func bound(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func publish(t testing.TB, b broker.Publisher, topic, id, body string) {
	t.Helper()
	if err := b.Publish(bound(t), topic, &broker.Message{ID: id, Body: []byte(body)}); err != nil {
		t.Fatalf("Publish(%q, %q) error = %v", topic, id, err)
	}
}

func subscribe(t testing.TB, b broker.Subscriber, topic string, opts *broker.SubscribeOptions) broker.Subscription {
	t.Helper()
	s, err := b.Subscribe(bound(t), topic, opts)
	if err != nil {
		t.Fatalf("Subscribe(%q) error = %v", topic, err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func next(t testing.TB, s broker.Subscription) *broker.Delivery {
	t.Helper()
	d, err := s.Next(bound(t))
	if err != nil {
		t.Fatalf("Next() error = %v", err)
	}
	return d
}

func wantNone(t testing.TB, s broker.Subscription) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if d, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next() = %v, %v, want %v", d, err, context.DeadlineExceeded)
	}
}
