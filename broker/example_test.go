package broker_test

import (
	"context"
	"fmt"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

func ExampleMemory() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var b broker.Memory
	workers, err := b.Subscribe(ctx, "orders.created", &broker.SubscribeOptions{Group: "workers"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer workers.Close()
	for _, id := range []string{"1", "2", "2"} {
		if err := b.Publish(ctx, "orders.created", &broker.Message{ID: id, Body: []byte("order " + id)}); err != nil {
			fmt.Println(err)
			return
		}
	}
	for range 2 {
		d, err := workers.Next(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %s\n", d.ID, d.Body)
		if err := d.Ack(ctx); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// 1: order 1
	// 2: order 2
}

func ExampleSubscribeOptions() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var b broker.Memory
	for _, id := range []string{"1", "2", "3"} {
		if err := b.Publish(ctx, "orders", &broker.Message{ID: id}); err != nil {
			fmt.Println(err)
			return
		}
	}
	read := func(start broker.Start, n int) (position string) {
		s, err := b.Subscribe(ctx, "orders", &broker.SubscribeOptions{Start: start})
		if err != nil {
			fmt.Println(err)
			return ""
		}
		defer s.Close()
		for range n {
			d, err := s.Next(ctx)
			if err != nil {
				fmt.Println(err)
				return ""
			}
			fmt.Println("read", d.ID)
			position = d.Position
		}
		return position
	}
	position := read(broker.Start{Earliest: true}, 2)
	fmt.Println("and later")
	read(broker.Start{After: position}, 1)
	// Output:
	// read 1
	// read 2
	// and later
	// read 3
}

func ExampleCapabilities_Missing() {
	var b broker.Memory
	for _, sentence := range b.Capabilities().Missing() {
		fmt.Println(sentence)
	}
	// Output: messages do not outlive a restart of the broker
}
