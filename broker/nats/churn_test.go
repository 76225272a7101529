package nats_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

// churned is how many messages members take who come and go.
const churned = 300

// TestMembersComeAndGo has members of a group leave while messages are on their
// way to them. What they were sent, and what they had asked for, goes to the
// next at once: if any of it waited to be overdue, the test would take an hour.
func TestMembersComeAndGo(t *testing.T) {
	for _, address := range []string{"embedded:", "nats://%s"} {
		t.Run(address, func(t *testing.T) {
			var b broker.Broker
			if address == "embedded:" {
				b = open(t, address, start(t, t.TempDir(), nil))
			} else {
				b = open(t, fmt.Sprintf(address, startProcess(t).addr), nil)
			}
			opts := &broker.SubscribeOptions{Group: "workers", AckWait: time.Hour, InFlight: 4}
			subscribe(t, b, "orders", opts).Close()
			published := make(chan error, 1)
			go func() {
				for i := range churned {
					if err := b.Publish(t.Context(), "orders", &broker.Message{ID: fmt.Sprint(i)}); err != nil {
						published <- err
						return
					}
				}
				published <- nil
			}()
			acknowledged := make(map[string]int)
			for len(acknowledged) < churned {
				comeAndGo(t, b, opts, acknowledged)
			}
			if err := <-published; err != nil {
				t.Error(err)
			}
			for id, n := range acknowledged {
				if n > 1 {
					t.Errorf("message %s was delivered %d times, though it was acknowledged", id, n)
				}
			}
		})
	}
}

// comeAndGo takes a few messages, acknowledges all but the last, and leaves when
// others may be on their way.
func comeAndGo(t *testing.T, b broker.Broker, opts *broker.SubscribeOptions, acknowledged map[string]int) {
	t.Helper()
	s, err := b.Subscribe(bound(t), "orders", opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for i := range 5 {
		d, err := s.Next(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%d messages came; the next does not", len(acknowledged))
		}
		if err != nil {
			t.Fatal(err)
		}
		if i == 4 {
			return
		}
		if err := d.Ack(ctx); err != nil {
			t.Fatal(err)
		}
		acknowledged[d.ID]++
		if len(acknowledged) == churned {
			return
		}
	}
}
