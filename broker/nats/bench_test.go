package nats_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goapi-dev/goapi/broker"
)

// BenchmarkPublish guards what a publication costs beside one that goes straight
// to the same server, one at a time from as many goroutines.
func BenchmarkPublish(b *testing.B) {
	body := make([]byte, 200)
	s := start(b, b.TempDir(), nil)
	ours := open(b, "embedded:", s)
	b.Run("broker", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			m := &broker.Message{Header: map[string]string{"Content-Type": "application/json"}, Body: body}
			for pb.Next() {
				if err := ours.Publish(b.Context(), "orders", m); err != nil {
					b.Error(err)
				}
			}
		})
	})
	js := jetStream(b, s)
	b.Run("direct", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				m := &natsgo.Msg{Subject: "events.direct", Header: natsgo.Header{"Content-Type": {"application/json"}}, Data: body}
				if _, err := js.PublishMsg(b.Context(), m); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkReceive guards what a delivery and its acknowledgement cost, beside
// the client's own way for a group.
func BenchmarkReceive(b *testing.B) {
	s := start(b, b.TempDir(), nil)
	ours := open(b, "embedded:", s)
	var topics atomic.Int64
	fill := func(b *testing.B) string {
		topic := fmt.Sprint("orders", topics.Add(1))
		js := jetStream(b, s)
		for range b.N {
			if _, err := js.PublishAsync("events."+topic, make([]byte, 200)); err != nil {
				b.Fatal(err)
			}
		}
		select {
		case <-js.PublishAsyncComplete():
		case <-bound(b).Done():
			b.Fatal("the server does not keep up")
		}
		b.ReportAllocs()
		b.ResetTimer()
		return topic
	}
	for _, group := range []string{"", "workers"} {
		b.Run("broker/"+group, func(b *testing.B) {
			topic := fill(b)
			sub := subscribe(b, ours, topic, &broker.SubscribeOptions{Group: group, Start: broker.Start{Earliest: true}})
			for range b.N {
				d, err := sub.Next(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if err := d.Ack(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("direct", func(b *testing.B) {
		topic := fill(b)
		stream := streamOf(b, s, "EVENTS")
		c, err := stream.CreateConsumer(b.Context(), jetstream.ConsumerConfig{
			Durable: topic, FilterSubject: "events." + topic, AckPolicy: jetstream.AckExplicitPolicy,
		})
		if err != nil {
			b.Fatal(err)
		}
		messages, err := c.Messages()
		if err != nil {
			b.Fatal(err)
		}
		defer messages.Stop()
		for range b.N {
			m, err := messages.Next()
			if err != nil {
				b.Fatal(err)
			}
			if err := m.DoubleAck(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
