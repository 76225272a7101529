package nats_test

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goapi-dev/goapi/broker"
	conns "github.com/goapi-dev/goapi/nats"
)

// TestMessagesOnTheWire: other programs see native headers and the raw body,
// and no header of a message means anything to the server.
func TestMessagesOnTheWire(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	b := open(t, "embedded:", s)
	stream := streamOf(t, s, "EVENTS")
	m := &broker.Message{
		ID: "id 1",
		Header: map[string]string{
			"Content-Type": "text/plain", "content-type": "other", "ce-id": "ü",
			"Nats-Rollup": "all", "Nats-TTL": "1", "nats-msg-id": "2", "Status": "503", "!Nats-TTL": "3", "!": "4",
			"Goapi-Time": "never", "Nats-Expected-Stream": "OTHER", "Nats-Expected-Last-Sequence": "77",
		},
		Body: []byte("\x00body"),
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.FixedZone("", 3600)),
	}
	if err := b.Publish(bound(t), "orders.created", m); err != nil {
		t.Fatal(err)
	}
	raw, err := stream.GetLastMsgForSubject(bound(t), "events.orders.created")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"Content-Type": "text/plain", "content-type": "other", "ce-id": "ü",
		"!Nats-Rollup": "all", "!Nats-TTL": "1", "!nats-msg-id": "2", "!Status": "503", "!!Nats-TTL": "3", "!!": "4",
		"!Goapi-Time": "never", "!Nats-Expected-Stream": "OTHER", "!Nats-Expected-Last-Sequence": "77",
		"Nats-Msg-Id": "orders.created id 1", "Goapi-Time": "2026-01-02T02:04:05.006Z", "Nats-Expected-Stream": "EVENTS",
	}
	got := make(map[string]string)
	for name := range raw.Header {
		got[name] = strings.Join(raw.Header[name], "|")
	}
	for _, name := range []string{"Nats-Sequence", "Nats-Stream", "Nats-Subject", "Nats-Time-Stamp"} {
		delete(got, name) // of the answer
	}
	if !maps.Equal(got, want) {
		t.Errorf("header = %q, want %q", got, want)
	}
	if string(raw.Data) != "\x00body" {
		t.Errorf("body = %q", raw.Data)
	}
}

// TestMessagesOfOthers: what other programs publish is received as far as it
// keeps the rules.
func TestMessagesOfOthers(t *testing.T) {
	for _, address := range []string{"embedded:", "embedded:?jetstream=false"} {
		t.Run(address, func(t *testing.T) {
			s := start(t, t.TempDir(), nil)
			sub := subscribe(t, open(t, address, s), "orders", nil)
			nc, err := s.Connect(bound(t))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			before := time.Now().Add(-time.Second)
			messages := []*natsgo.Msg{
				{Data: []byte("plain")},
				{Header: natsgo.Header{"Nats-Msg-Id": {"theirs"}, "A": {"1", "2"}}},
				{Header: natsgo.Header{"Nats-Msg-Id": {strings.Repeat("i", 300)}, "Goapi-Time": {"never"}, "B": {"\xff"}, "C": {"c"}}},
				{Header: natsgo.Header{"Goapi-Time": {"2001-02-03T04:05:06Z"}, "Nats-Msg-Id": {"other 1"}}},
			}
			want := []broker.Message{
				{Body: []byte("plain")},
				{ID: "theirs", Header: map[string]string{"A": "1"}},
				{Header: map[string]string{"C": "c"}},
				{ID: "other 1", Time: time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)},
			}
			for _, m := range messages {
				m.Subject = "events.orders"
				if err := nc.PublishMsg(m); err != nil {
					t.Fatal(err)
				}
			}
			for i, want := range want {
				got := next(t, sub)
				if got.ID != want.ID || got.Topic != "orders" || !maps.Equal(got.Header, want.Header) || !bytes.Equal(got.Body, want.Body) {
					t.Errorf("message %d = %+v, want %+v", i, got.Message, want)
				}
				if !want.Time.IsZero() && !got.Time.Equal(want.Time) || want.Time.IsZero() && got.Time.Before(before) {
					t.Errorf("message %d: time = %v, want %v", i, got.Time, want.Time)
				}
			}
		})
	}
}

// TestOwnTopics carries what is a gateway's own, such as dead letters, without a
// prefix too.
func TestOwnTopics(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	for _, url := range []string{"embedded+micro:", "embedded:?jetstream=false&prefix="} {
		b := open(t, url, s)
		sub := subscribe(t, b, "_dead-letters", nil)
		if err := b.Publish(bound(t), "_dead-letters", &broker.Message{ID: "1"}); err != nil {
			t.Fatalf("%s: Publish() error = %v", url, err)
		}
		take(t, sub, "1")
	}
}

// TestSubjectsOfNATS: without a prefix, no topic reaches what is NATS's own.
func TestSubjectsOfNATS(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	b := open(t, "embedded:?jetstream=false&prefix=", s)
	for _, topic := range []string{"_INBOX.abc", "_R_.x", "$SYS.REQ", "$JS.API.INFO", "$KV.a.b"} {
		if err := b.Publish(bound(t), topic, &broker.Message{}); !errors.Is(err, broker.ErrTopic) {
			t.Errorf("Publish(%q) error = %v, want ErrTopic", topic, err)
		}
		if _, err := b.Subscribe(bound(t), topic, nil); !errors.Is(err, broker.ErrTopic) {
			t.Errorf("Subscribe(%q) error = %v, want ErrTopic", topic, err)
		}
	}
	nc, err := s.Connect(bound(t))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("orders.created")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(bound(t)); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "orders.created", "1")
	if m, err := sub.NextMsgWithContext(bound(t)); err != nil || string(m.Data) != "1" {
		t.Errorf("what a subscriber of the plain subject gets = %v, %v, want 1", m, err)
	}
}

// TestMessageTooLargeForTheStream: a stream may take less than the server, and
// a server less than a header needs.
func TestTooLarge(t *testing.T) {
	s := start(t, t.TempDir(), &conns.ServerOptions{MaxPayload: 1 << 16})
	if _, err := jetStream(t, s).CreateStream(bound(t), jetstream.StreamConfig{
		Name: "SMALL", Subjects: []string{"small.>"}, MaxMsgSize: 4096,
	}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		url  string
		want int
	}{
		{"embedded:", 1<<16 - 1024},
		{"embedded:?jetstream=false", 1<<16 - 1024},
		{"embedded:?stream=SMALL&prefix=small", 4096 - 1024},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			b := open(t, tt.url, s)
			if got := b.Capabilities().MaxMessage; got != tt.want {
				t.Errorf("MaxMessage = %d, want %d", got, tt.want)
			}
			err := b.Publish(bound(t), "orders", &broker.Message{Body: make([]byte, tt.want+1)})
			if !errors.Is(err, broker.ErrTooLarge) || !strings.Contains(err.Error(), `"orders"`) {
				t.Errorf("Publish() error = %v, want ErrTooLarge with the topic", err)
			}
			// Each name takes a byte more on the wire than it counts.
			tight := &broker.Message{Header: make(map[string]string)}
			for i := 0; tight.Size() < tt.want-16; i++ {
				tight.Header["Nats-"+string(rune('a'+i%26))+strings.Repeat("x", i/26)] = ""
			}
			if err := b.Publish(bound(t), "orders", tight); err != nil && !errors.Is(err, broker.ErrTooLarge) {
				t.Errorf("Publish() of many names error = %v, want ErrTooLarge or nil", err)
			}
		})
	}
}

// TestMicroOnTheWire: subscribers of go-micro read what is published on the
// plain subject, and what its publishers write is received. What nobody can read
// is dropped.
func TestMicroOnTheWire(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	b := open(t, "embedded+micro:", s)
	nc, err := s.Connect(bound(t))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	theirs, err := nc.SubscribeSync("greeter.hello")
	if err != nil {
		t.Fatal(err)
	}
	ours := subscribe(t, b, "greeter.hello", nil)
	m := &broker.Message{ID: "1", Header: map[string]string{"Content-Type": "application/json"}, Body: []byte(`{"a":1}`), Time: time.Unix(1, 0)}
	if err := nc.FlushWithContext(bound(t)); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(bound(t), "greeter.hello", m); err != nil {
		t.Fatal(err)
	}
	const want = `{"Header":{"Content-Type":"application/json","Goapi-Mark":"1970-01-01T00:00:01Z greeter.hello 1","Micro-Id":"1","Micro-Topic":"greeter.hello"},"Body":"eyJhIjoxfQ=="}`
	got, err := theirs.NextMsgWithContext(bound(t))
	if err != nil || string(got.Data) != want || len(got.Header) > 0 {
		t.Errorf("on the wire is %s, %v, want %s", got.Data, err, want)
	}
	take(t, ours, "1")
	const v6 = `{"Header":{"Content-Type":"application/json","Micro-ID":"7ed6f981","Micro-Topic":"greeter.hello","Trace":"t1"},"Body":"eyJhIjoxfQo="}`
	for _, data := range []string{"not of go-micro", v6} {
		if err := nc.Publish("greeter.hello", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	d := next(t, ours)
	if d.ID != "7ed6f981" || !maps.Equal(d.Header, map[string]string{"Content-Type": "application/json", "Trace": "t1"}) || string(d.Body) != "{\"a\":1}\n" {
		t.Errorf("Next() = %+v, want what go-micro published", d.Message)
	}
}

func jetStream(t testing.TB, s *conns.Server) jetstream.JetStream {
	t.Helper()
	nc, err := s.Connect(bound(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func streamOf(t testing.TB, s *conns.Server, name string) jetstream.Stream {
	t.Helper()
	stream, err := jetStream(t, s).Stream(bound(t), name)
	if err != nil {
		t.Fatalf("Stream(%q) error = %v", name, err)
	}
	return stream
}
