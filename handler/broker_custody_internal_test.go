package handler

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

// TestGroupGivesBack holds that what a client of a group has not been sent, or
// has left too soon to have received for sure, goes to others at once, and that
// nothing else does.
func TestGroupGivesBack(t *testing.T) {
	tests := []struct {
		name    string
		written bool
		stays   time.Duration
		arrived bool
	}{
		{"taken, and not written", false, 0, false},
		{"written to a client that was gone", true, 0, false},
		{"written to a client that leaves at once", true, stay - time.Millisecond, false},
		{"written to a client that stays", true, stay, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mem broker.Memory
				tl, other := member(t, &mem), rival(t, &mem)
				const n = 2*pumpFlight + 3 // more than is taken at a time
				publishNumbers(t, &mem, n)
				synctest.Wait()
				want := n
				if items, _, err := tl.take(); len(items) < pumpFlight || len(items) == n || err != nil {
					t.Errorf("take = %d items, %v; want some, not all", len(items), err)
				} else if tt.arrived {
					want -= len(items)
				}
				if tt.written {
					tl.written(t.Context())
					time.Sleep(tt.stays)
					tl.forget() // which a client does that is sent nothing more
					tl.written(t.Context())
				}
				tl.close()
				if got := drain(t, other); got != want {
					t.Errorf("%d messages came to another, want %d", got, want)
				}
			})
		})
	}
}

// TestGroupKeepsMoving holds how much a client of a group gets that takes all at
// once: what is not known to have arrived holds up what comes later, and no more.
func TestGroupKeepsMoving(t *testing.T) {
	const n = 4 * groupFlight
	for _, tt := range []struct {
		size int
		want time.Duration
	}{
		{10, n / groupFlight * stay},
		{100 << 10, n / 4 * stay}, // which has 234 KiB in all its forms
	} {
		synctest.Test(t, func(t *testing.T) {
			var mem broker.Memory
			tl := member(t, &mem)
			defer tl.close()
			for range n {
				if err := mem.Publish(t.Context(), "orders", &broker.Message{Body: make([]byte, tt.size)}); err != nil {
					t.Fatal(err)
				}
			}
			start, most := time.Now(), int64(0)
			for got := 0; got < n; {
				synctest.Wait()
				items, changed, err := tl.take()
				if err != nil {
					t.Fatal(err)
				}
				most = max(most, tl.own.bytes.Load())
				tl.written(t.Context())
				if got += len(items); len(items) > 0 {
					continue
				}
				select {
				case <-changed:
				case <-tl.due():
				}
			}
			if most > groupBytes {
				t.Errorf("%d bytes are held for a client, want at most %d", most, groupBytes)
			}
			if took := time.Since(start); took > tt.want {
				t.Errorf("%d messages of %d bytes took %v, want at most %v", n, tt.size, took, tt.want)
			}
		})
	}
}

// TestTailEnds holds that a client that asked for so many messages gets them, is
// known to have them, and takes none from others.
func TestTailEnds(t *testing.T) {
	for _, group := range []string{"", "g"} {
		t.Run("group "+group, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mem broker.Memory
				h := testHub(&mem, 100, time.Second)
				tl, err := h.tail(t.Context(), "orders", broker.SubscribeOptions{Group: group, AckWait: time.Hour}, 3)
				if err != nil {
					t.Fatal(err)
				}
				other := rival(t, &mem)
				publishNumbers(t, &mem, 10)
				synctest.Wait()
				items, _, err := tl.take()
				if got := bodiesOf(items); got != "0 1 2" && group == "" || len(items) != 3 || err != nil {
					t.Errorf("take = %s, %v; want three", got, err)
				}
				tl.written(t.Context())
				if enough := tl.due() == nil; enough != tl.enough() || enough == (group != "") {
					t.Errorf("enough = %v before all is settled", tl.enough())
				}
				if items, _, err := tl.take(); len(items) > 0 || err != nil {
					t.Errorf("take = %s, %v; want nothing", bodiesOf(items), err)
				}
				if due := tl.due(); due != nil {
					<-due
					tl.written(t.Context())
				}
				if !tl.enough() {
					t.Error("the client has not got what it asked for")
				}
				tl.close()
				want := 10
				if group != "" {
					want = 7
				}
				if got := drain(t, other); got != want {
					t.Errorf("%d messages came to another group or member, want %d", got, want)
				}
			})
		})
	}
}

// TestCustodySettlesNothingLate holds that a client that has left when its time
// is over has received nothing.
func TestCustodySettlesNothingLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mem broker.Memory
		tl, other := member(t, &mem), rival(t, &mem)
		publishNumbers(t, &mem, 1)
		synctest.Wait()
		if items, _, _ := tl.take(); len(items) != 1 {
			t.Error("the client has no message")
		}
		ctx, leave := context.WithCancel(t.Context())
		tl.written(ctx)
		<-tl.due()
		leave()
		tl.forget()
		tl.written(ctx)
		tl.close()
		if got := drain(t, other); got != 1 {
			t.Errorf("%d messages came to another, want 1", got)
		}
	})
}

// member returns a client of the group g.
func member(t *testing.T, mem *broker.Memory) *tail {
	t.Helper()
	tl, err := testHub(mem, 10, time.Second).tail(t.Context(), "orders", broker.SubscribeOptions{Group: "g", AckWait: time.Hour}, math.MaxInt)
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

// rival returns a subscription in the group g, which asks for nothing yet.
func rival(t *testing.T, mem *broker.Memory) broker.Subscription {
	t.Helper()
	sub, err := mem.Subscribe(t.Context(), "orders", &broker.SubscribeOptions{Group: "g", AckWait: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Close() })
	return sub
}

func publishNumbers(t *testing.T, mem *broker.Memory, n int) {
	t.Helper()
	for i := range n {
		if err := mem.Publish(t.Context(), "orders", &broker.Message{Body: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
}

// drain returns how many messages there are at once.
func drain(t *testing.T, sub broker.Subscription) int {
	t.Helper()
	for n := 0; ; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		d, err := sub.Next(ctx)
		cancel()
		if err != nil {
			return n
		}
		_ = d.Ack(t.Context())
	}
}
