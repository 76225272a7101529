package broker_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

func TestFlight(t *testing.T) {
	begin := time.Now()
	f := broker.NewFlight[string](2)
	room := func(at time.Duration, want int, until time.Duration) {
		t.Helper()
		n, due := f.Room(begin.Add(at))
		if n != want || n == 0 && !due.Equal(begin.Add(until)) {
			t.Errorf("Room() after %v = %d, %v, want %d, %v", at, n, due.Sub(begin), want, until)
		}
	}
	room(0, 2, 0)
	late := f.Add("late", begin.Add(20))
	f.Add("soon", begin.Add(10))
	room(0, 0, 10)
	room(10, 1, 0)
	f.Add("other", begin.Add(30))
	room(11, 0, 20)
	if got := len(f.Freed()); got != 0 {
		t.Errorf("Freed() has %d values before Remove, want none", got)
	}
	f.Remove(late)
	f.Remove(late)
	if got := len(f.Freed()); got != 1 {
		t.Errorf("Freed() has %d values after Remove, want 1", got)
	}
	room(12, 1, 0)
	f.Add("last", begin.Add(40))
	if got := f.Take(begin.Add(30)); !slices.Equal(got, []string{"last"}) {
		t.Errorf("Take() = %q, want what is not overdue: last", got)
	}
	room(12, 2, 0)
}

func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := &broker.SubscribeOptions{InFlight: 2, AckWait: time.Minute}
		o, err := opts.For(broker.Capabilities{})
		if err != nil {
			t.Fatal(err)
		}
		f := broker.NewFeed(o)
		defer f.Close()
		for _, id := range []string{"1", "2", "3"} {
			if err := f.Put(t.Context(), broker.Message{ID: id, Topic: "orders"}); err != nil {
				t.Fatal(err)
			}
		}
		first := next(t, f)
		next(t, f)
		wantNone(t, f)
		if err := first.Nack(t.Context(), time.Hour); err != nil {
			t.Errorf("Nack() error = %v, want nil", err)
		}
		if d := next(t, f); d.ID != "3" || d.Topic != "orders" || d.Attempt != 1 || d.Position != "" {
			t.Errorf("Next() = %+v, want 3, for the first time, without a position", d)
		}
		begun := time.Now()
		go func() { _ = f.Put(t.Context(), broker.Message{ID: "4"}) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if d, err := f.Next(ctx); err != nil || d.ID != "4" || time.Since(begun) > time.Minute {
			t.Errorf("Next() while all is in flight = %v, %v after %v, want 4 when one is overdue", d, err, time.Since(begun))
		}
	})
}

func TestFeedTellsOfLossOnce(t *testing.T) {
	f := broker.NewFeed(broker.SubscribeOptions{InFlight: 1, AckWait: time.Minute})
	defer f.Close()
	wantLoss := func() {
		t.Helper()
		if d, err := f.Next(bound(t)); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("Next() = %v, %v, want ErrUnavailable", d, err)
		}
	}
	f.Lose()
	f.Lose()
	wantLoss()
	f.Lose()
	wantNone(t, f)
	f.Find()
	wantNone(t, f)
	f.Lose()
	wantLoss()
}

func TestFeedPutEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := broker.NewFeed(broker.SubscribeOptions{InFlight: 1, AckWait: time.Minute})
		var err error
		put := func(ctx context.Context) {
			for err = nil; err == nil; { // until nothing more waits
				err = f.Put(ctx, broker.Message{})
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if put(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Put() while nobody reads error = %v, want %v", err, context.DeadlineExceeded)
		}
		go f.Close()
		if put(t.Context()); !errors.Is(err, broker.ErrClosed) {
			t.Errorf("Put() that Close interrupts: error = %v, want ErrClosed", err)
		}
		<-f.Done()
	})
}
