package nats_test

import (
	"fmt"
	"testing"

	"github.com/goapi-dev/goapi/broker"
)

// TestBacklogsKeepTheConnection: many subscriptions that are far behind ask for
// no more than the server may send at a time.
func TestBacklogsKeepTheConnection(t *testing.T) {
	srv := start(t, t.TempDir(), nil)
	b := open(t, "embedded:", srv)
	const messages, subscribers = 40, 12
	body := make([]byte, 500<<10)
	for i := range messages {
		if err := b.Publish(bound(t), "orders", &broker.Message{ID: fmt.Sprint(i), Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, subscribers)
	for range subscribers {
		s := subscribe(t, b, "orders", &broker.SubscribeOptions{Start: broker.Start{Earliest: true}, InFlight: messages})
		go func() {
			for i := range messages {
				d, err := s.Next(bound(t))
				if err == nil && d.ID != fmt.Sprint(i) {
					err = fmt.Errorf("message %d is %q", i, d.ID)
				}
				if err != nil {
					done <- err
					return
				}
				_ = d.Ack(bound(t)) // of nobody else's
			}
			done <- nil
		}()
	}
	for range subscribers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
