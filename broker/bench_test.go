package broker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/goapi-dev/goapi/broker"
)

// BenchmarkMemory guards what a message costs: to publish it, with as many
// subscriptions that receive and acknowledge it.
func BenchmarkMemory(b *testing.B) {
	for _, subscriptions := range []int{0, 1, 100} {
		b.Run(fmt.Sprint(subscriptions), func(b *testing.B) {
			var m broker.Memory
			ctx, cancel := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			for range subscriptions {
				s, err := m.Subscribe(ctx, "orders", nil)
				if err != nil {
					b.Fatal(err)
				}
				wg.Go(func() {
					defer s.Close()
					for {
						d, err := s.Next(ctx)
						if err != nil {
							return
						}
						_ = d.Ack(ctx)
					}
				})
			}
			msg := &broker.Message{Header: map[string]string{"Content-Type": "application/json"}, Body: make([]byte, 200)}
			b.ReportAllocs()
			for b.Loop() {
				if err := m.Publish(ctx, "orders", msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
