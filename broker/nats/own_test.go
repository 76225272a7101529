package nats_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/nats"
	conns "github.com/goapi-dev/goapi/nats"
)

// earliest begins with all there is.
func earliest() *broker.SubscribeOptions {
	return &broker.SubscribeOptions{Start: broker.Start{Earliest: true}}
}

// TestOwnTopicsOutliveAFlood: what others publish pushes out what is theirs, and
// nothing that is the gateway's own; nor does the end of the server.
func TestOwnTopicsOutliveAFlood(t *testing.T) {
	const bounds = "?max_bytes=1048576"
	t.Run("embedded", func(t *testing.T) {
		dir := t.TempDir()
		s := start(t, dir, nil)
		testFlood(t, open(t, "embedded:"+bounds, s), func(b *nats.Broker) broker.Broker {
			b.Close()
			s.Close()
			return open(t, "embedded:"+bounds, start(t, dir, nil))
		})
	})
	t.Run("killed", func(t *testing.T) {
		p := startProcess(t)
		testFlood(t, open(t, "nats://"+p.addr+bounds, nil), func(b *nats.Broker) broker.Broker {
			b.Close()
			p.kill()
			p.start(t)
			return open(t, "nats://"+p.addr+bounds, nil)
		})
	})
}

func testFlood(t *testing.T, b *nats.Broker, restart func(*nats.Broker) broker.Broker) {
	t.Helper()
	var letters []string
	for i := range 20 {
		letters = append(letters, fmt.Sprint("letter", i))
		publish(t, b, "_dead-letters", letters[i])
	}
	group := subscribe(t, b, "_dead-letters", &broker.SubscribeOptions{Group: "g", AckWait: time.Second, Start: broker.Start{Earliest: true}})
	take(t, group, letters[:5]...)
	for i := range 40 {
		if err := b.Publish(bound(t), "orders", &broker.Message{ID: fmt.Sprint(i), Body: make([]byte, 100<<10)}); err != nil {
			t.Fatal(err)
		}
	}
	if d := next(t, subscribe(t, b, "orders", earliest())); d.ID == "0" {
		t.Error("the first of the flood is there: the test shows nothing")
	}
	take(t, subscribe(t, b, "_dead-letters", earliest()), letters...)
	group.Close()
	again := restart(b)
	take(t, subscribe(t, again, "_dead-letters", earliest()), letters...)
	takeUntil(t, subscribe(t, again, "_dead-letters", &broker.SubscribeOptions{Group: "g"}), letters[5:]...)
}

// TestOwnTopicsMove: a stream of an earlier version holds them with all others.
func TestOwnTopicsMove(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, nil)
	js := jetStream(t, s)
	if _, err := js.CreateStream(bound(t), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 30 {
		for _, topic := range []string{"_dead-letters", "orders", "_other.own"} {
			m := natsgo.NewMsg("events." + topic)
			m.Header.Set("Nats-Msg-Id", topic+" "+fmt.Sprint(i))
			m.Header.Set("Goapi-Time", made.Format(time.RFC3339Nano))
			m.Header.Set("Goapi", "kept")
			if _, err := js.PublishMsg(bound(t), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	b := open(t, "embedded:", s)
	for range 2 { // moved, and after a restart
		for _, topic := range []string{"_dead-letters", "orders", "_other.own"} {
			sub := subscribe(t, b, topic, earliest())
			for i := range 30 {
				d := next(t, sub)
				if d.ID != fmt.Sprint(i) || !d.Time.Equal(made) || d.Header["Goapi"] != "kept" {
					t.Fatalf("message %d of %s is %+v", i, topic, d.Message)
				}
			}
			sub.Close()
		}
		publish(t, b, "_dead-letters", "new")
		b.Close()
		s.Close()
		s = start(t, dir, nil)
		b = open(t, "embedded:", s)
	}
	if got := subjectsOf(t, s, "EVENTS"); !slices.Equal(got, []string{"events.orders"}) {
		t.Errorf("the stream of all others has %q", got)
	}
	if got := subjectsOf(t, s, "EVENTS-own"); !slices.Equal(got, []string{"events-own._dead-letters", "events-own._other.own"}) {
		t.Errorf("the stream of own topics has %q", got)
	}
}

// TestOwnTopicsWhereTheOperatorWants: a stream that takes in the subjects of own
// topics keeps them.
func TestOwnTopicsWhereTheOperatorWants(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	if _, err := jetStream(t, s).CreateStream(bound(t), jetstream.StreamConfig{Name: "MINE", Subjects: []string{"mine.>", "mine-own.>"}}); err != nil {
		t.Fatal(err)
	}
	b := open(t, "embedded:?stream=MINE&prefix=mine", s)
	publish(t, b, "_dead-letters", "1")
	take(t, subscribe(t, b, "_dead-letters", earliest()), "1")
	if got := subjectsOf(t, s, "MINE"); !slices.Equal(got, []string{"mine-own._dead-letters"}) {
		t.Errorf("the stream has %q", got)
	}
}

// TestOwnTopicsRefused: a stream that has their subjects, and cannot hold them.
func TestOwnTopicsRefused(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	if _, err := jetStream(t, s).CreateStream(bound(t), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"events-own.a"}}); err != nil {
		t.Fatal(err)
	}
	_, err := tryOpen(bound(t), "embedded:", s)
	if want := `stream "EVENTS-own" of NATS cannot be used: another stream has subjects under "events-own."`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Open() error = %v, want %q", err, want)
	}
}

// TestOwnTopicsOfARemoteServer: a publisher makes the stream again.
func TestOwnTopicsOfARemoteServer(t *testing.T) {
	s := start(t, t.TempDir(), &conns.ServerOptions{Address: "127.0.0.1:0"})
	b := open(t, "nats://"+s.Addr()+"?max_bytes=1000000", nil)
	if got := streamOf(t, s, "EVENTS-own").CachedInfo().Config; got.MaxBytes != 250_000 || got.MaxAge != 168*time.Hour {
		t.Errorf("the stream is %+v", got)
	}
	if err := jetStream(t, s).DeleteStream(bound(t), "EVENTS-own"); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "_dead-letters", "1")
	take(t, subscribe(t, b, "_dead-letters", earliest()), "1")
}

// subjectsOf returns the subjects that a stream has messages of.
func subjectsOf(t testing.TB, s *conns.Server, name string) []string {
	t.Helper()
	info, err := streamOf(t, s, name).Info(bound(t), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for subject := range info.State.Subjects {
		list = append(list, subject)
	}
	slices.Sort(list)
	return list
}

// takeUntil acknowledges deliveries until those with the given IDs came. After a
// crash some may come again that were acknowledged.
func takeUntil(t testing.TB, s broker.Subscription, ids ...string) {
	t.Helper()
	for left := slices.Clone(ids); len(left) > 0; {
		d := next(t, s)
		if err := d.Ack(bound(t)); err != nil {
			t.Fatalf("Ack() error = %v", err)
		}
		left = slices.DeleteFunc(left, func(id string) bool { return id == d.ID })
	}
}
