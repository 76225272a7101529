package nats_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/nats"
	conns "github.com/goapi-dev/goapi/nats"
)

// TestProcessIsKilled: what a process with an embedded server took, it has when
// it comes back after kill -9.
func TestProcessIsKilled(t *testing.T) {
	dir := t.TempDir()
	taken := make(map[string]bool)
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), publisherDir+"="+dir, publisherRound+"="+fmt.Sprint(round))
		cmd.Stderr = os.Stderr
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		for n := 0; lines.Scan(); n++ { // reads on after the kill
			taken[lines.Text()] = true
			if n == 300 {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
		stdin.Close()
	}
	if len(taken) < 900 {
		t.Fatalf("%d messages were taken, want 300 in each round", len(taken))
	}
	s := subscribe(t, open(t, "embedded:", start(t, dir, nil)), "orders", &broker.SubscribeOptions{Start: broker.Start{Earliest: true}})
	for len(taken) > 0 {
		d, err := s.Next(bound(t))
		if err != nil {
			t.Fatalf("Next() error = %v; %d messages that were taken are missing, such as %q", err, len(taken), slices.Sorted(maps.Keys(taken))[0])
		}
		delete(taken, d.ID)
		if err := d.Ack(bound(t)); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	publisherDir   = "GOAPI_TEST_PUBLISHER_DIR"
	publisherRound = "GOAPI_TEST_PUBLISHER_ROUND"
)

// publishForever publishes on an embedded server until the process is killed,
// from several goroutines, and writes the ID of what was taken.
func publishForever(dir, round string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := conns.Start(ctx, dir, nil)
	if err != nil {
		return err
	}
	b, err := nats.Open(ctx, &url.URL{Scheme: "embedded"}, &nats.Options{Conns: &conns.Conns{Embedded: s}})
	if err != nil {
		return err
	}
	errs := make(chan error)
	for i := range 4 {
		go func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%s-%d-%d", round, i, n)
				if err := b.Publish(ctx, "orders", &broker.Message{ID: id}); err != nil {
					errs <- err
					return
				}
				if _, err := io.WriteString(w, id+"\n"); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	return <-errs
}

// TestServerComesBackEmpty: the store is lost. Whoever is there makes a stream
// again, and misses nothing of it; positions in the old one are known as such.
func TestServerComesBackEmpty(t *testing.T) {
	s := start(t, t.TempDir(), &conns.ServerOptions{Address: "127.0.0.1:0"})
	addr := s.Addr()
	b := open(t, "nats://"+addr, nil)
	alone := subscribe(t, b, "orders", nil)
	shared := subscribe(t, b, "orders", &broker.SubscribeOptions{Group: "workers"})
	for _, id := range []string{"1", "2", "3"} {
		publish(t, b, "orders", id)
	}
	position := next(t, alone).Position
	take(t, alone, "2", "3")
	take(t, shared, "1", "2", "3")

	s.Close()
	for _, sub := range []broker.Subscription{alone, shared} {
		if d, err := sub.Next(bound(t)); !errors.Is(err, broker.ErrUnavailable) {
			t.Fatalf("Next() without a server = %v, %v, want ErrUnavailable", d, err)
		}
	}
	start(t, t.TempDir(), &conns.ServerOptions{Address: addr})
	other := open(t, "nats://"+addr, nil)
	for _, id := range []string{"4", "5", "6", "7"} {
		publish(t, other, "orders", id)
	}
	take(t, alone, "4", "5", "6", "7")
	take(t, shared, "4", "5", "6", "7")
	_, err := b.Subscribe(bound(t), "orders", &broker.SubscribeOptions{Start: broker.Start{After: position}})
	if !errors.Is(err, broker.ErrPosition) {
		t.Errorf("Subscribe() after a position in a stream that was lost: error = %v, want ErrPosition", err)
	}
}

// TestStreamIsDeleted: a publisher makes it again.
func TestStreamIsDeleted(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	b := open(t, "embedded:", s)
	sub := subscribe(t, b, "orders", nil)
	publish(t, b, "orders", "1")
	take(t, sub, "1")
	if err := jetStream(t, s).DeleteStream(bound(t), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "orders", "2")
	d, err := sub.Next(bound(t))
	if errors.Is(err, broker.ErrUnavailable) {
		d, err = sub.Next(bound(t))
	}
	if err != nil || d.ID != "2" {
		t.Errorf("Next() = %v, %v, want 2", d, err)
	}
}

// TestConsumerIsDeleted: what was not acknowledged comes again, and what comes
// after.
func TestConsumerIsDeleted(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	b := open(t, "embedded:", s)
	stream := streamOf(t, s, "EVENTS")
	for _, group := range []string{"", "workers"} {
		t.Run("group "+group, func(t *testing.T) {
			topic := "orders" + group
			publish(t, b, topic, "old")
			sub := subscribe(t, b, topic, &broker.SubscribeOptions{Group: group})
			publish(t, b, topic, "1")
			publish(t, b, topic, "2")
			publish(t, b, topic, "3")
			take(t, sub, "1")
			next(t, sub) // and is not acknowledged
			take(t, sub, "3")
			names := stream.ConsumerNames(bound(t))
			for name := range names.Name() {
				if err := stream.DeleteConsumer(bound(t), name); err != nil {
					t.Fatal(err)
				}
			}
			if err := names.Err(); err != nil {
				t.Fatal(err)
			}
			publish(t, b, topic, "4")
			want := map[string]bool{"2": true, "4": true}
			for len(want) > 0 {
				d := next(t, sub)
				if d.ID == "old" || d.ID == "1" && group == "" {
					t.Errorf("Next() = %s, which was dealt with", d.ID)
				}
				delete(want, d.ID)
			}
			sub.Close()
		})
	}
}

// TestCloseLeavesNothing: the server keeps groups, and no other consumer.
func TestCloseLeavesNothing(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	b := open(t, "embedded:", s)
	subscribe(t, b, "orders", nil).Close()
	subscribe(t, b, "orders", nil)
	shared := subscribe(t, b, "orders", &broker.SubscribeOptions{Group: "the workers"})
	shared.Close()
	b.Close()
	// The server does what it is told in order, per connection; another may be
	// ahead of it.
	stream := streamOf(t, s, "EVENTS")
	var names []string
	for ctx := bound(t); ctx.Err() == nil; {
		names = names[:0]
		for name := range stream.ConsumerNames(bound(t)).Name() {
			names = append(names, name)
		}
		if len(names) == 1 {
			break
		}
	}
	if len(names) != 1 || !strings.HasPrefix(names[0], "the_workers_") {
		t.Errorf("consumers after Close = %q, want that of the group", names)
	}
}

// TestBrokerClose: it ends all that is under way.
func TestBrokerClose(t *testing.T) {
	for _, address := range []string{"embedded:", "embedded:?jetstream=false"} {
		t.Run(address, func(t *testing.T) {
			s := start(t, t.TempDir(), nil)
			b := open(t, address, s)
			sub, other := subscribe(t, b, "orders", nil), subscribe(t, b, "orders", &broker.SubscribeOptions{Group: "workers"})
			publish(t, b, "orders", "1")
			d := next(t, sub)
			ended := make(chan error, 1)
			next(t, other)
			go func() {
				_, err := other.Next(t.Context())
				ended <- err
			}()
			b.Close()
			if err := <-ended; !errors.Is(err, broker.ErrClosed) {
				t.Errorf("Next() that Close interrupts: error = %v, want ErrClosed", err)
			}
			if err := d.Ack(bound(t)); !errors.Is(err, broker.ErrClosed) {
				t.Errorf("Ack() after Close error = %v, want ErrClosed", err)
			}
			if err := b.Publish(bound(t), "orders", &broker.Message{}); !errors.Is(err, broker.ErrClosed) {
				t.Errorf("Publish() after Close error = %v, want ErrClosed", err)
			}
			if _, err := b.Subscribe(bound(t), "orders", nil); !errors.Is(err, broker.ErrClosed) {
				t.Errorf("Subscribe() after Close error = %v, want ErrClosed", err)
			}
		})
	}
}

// TestPublishSaysWhatFails: a stream that is full may have room later.
func TestPublishSaysWhatFails(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	b := open(t, "embedded:", s)
	js := jetStream(t, s)
	cfg := streamOf(t, s, "EVENTS").CachedInfo().Config
	cfg.MaxMsgs, cfg.Discard = 1, jetstream.DiscardNew
	if _, err := js.UpdateStream(bound(t), cfg); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "orders", "1")
	err := b.Publish(bound(t), "orders", &broker.Message{})
	if !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "maximum messages exceeded") {
		t.Errorf("Publish() to a full stream error = %v, want ErrUnavailable with the reason", err)
	}
}

// TestLargeFlights: much may be in flight at a time.
func TestLargeFlights(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	b := open(t, "embedded:", s)
	sub := subscribe(t, b, "orders", &broker.SubscribeOptions{InFlight: broker.MaxInFlight, Group: "workers"})
	const n = 3000
	for i := range n {
		publish(t, b, "orders", fmt.Sprint(i))
	}
	var held []*broker.Delivery
	for range n {
		held = append(held, next(t, sub))
	}
	for _, d := range held {
		if err := d.Ack(bound(t)); err != nil {
			t.Fatal(err)
		}
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if d, err := sub.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next() after all was acknowledged = %v, %v, want %v", d, err, context.DeadlineExceeded)
	}
}
