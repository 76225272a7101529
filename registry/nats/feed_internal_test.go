package nats

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goapi-dev/goapi/registry"
)

// TestFeedRead: what may come is read, and what is missing is noticed.
func TestFeedRead(t *testing.T) {
	tests := []struct {
		name    string
		message *natsgo.Msg
		want    change
		wantGap bool
		wantErr bool
	}{
		{name: "value", message: message("4", "Header", ""), want: change{key: "greeter.1", value: []byte("data")}},
		{name: "expired", message: message("4", jetstream.MarkerReasonHeader, "MaxAge"), want: change{key: "greeter.1", value: []byte("data"), removed: true}},
		{name: "purged", message: message("4", headerOperation, operationPurge), want: change{key: "greeter.1", value: []byte("data"), removed: true}},
		{name: "deleted", message: message("4", headerOperation, operationDelete), want: change{key: "greeter.1", value: []byte("data"), removed: true}},
		{name: "gap", message: message("5", "Header", ""), wantGap: true},
		{name: "repeated", message: message("3", "Header", ""), wantGap: true},
		{name: "no message of a stream", message: &natsgo.Msg{Subject: "$KV.test.greeter.1", Sub: new(natsgo.Subscription)}, wantErr: true},
		{name: "heartbeat", message: control(headerLastConsumer, "3")},
		{name: "heartbeat after a gap", message: control(headerLastConsumer, "4"), wantGap: true},
		{name: "heartbeat that says nothing", message: control("Header", ""), wantGap: true},
		{name: "end", message: &natsgo.Msg{Header: natsgo.Header{headerStatus: {"409"}, "Description": {"Consumer Deleted"}}}, wantErr: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &feed{registry: &Registry{bucket: bucket{name: "test"}}, sequence: 3, pending: 2, keys: map[string]bool{"greeter.1": true}}
			got, err := f.read(tt.message)
			if errors.Is(err, errGap) != tt.wantGap || (err != nil) != (tt.wantErr || tt.wantGap) {
				t.Fatalf("read() error = %v, want a gap: %v, any: %v", err, tt.wantGap, tt.wantErr)
			}
			if got.key != tt.want.key || !bytes.Equal(got.value, tt.want.value) || got.removed != tt.want.removed {
				t.Errorf("read() = %+v, want %+v", got, tt.want)
			}
			if tt.want.key != "" && (f.pending != 1 || f.keys[tt.want.key] == tt.want.removed) {
				t.Errorf("after read() %d are pending and the keys are %v, want 1 and that of the value", f.pending, f.keys)
			}
			if f.patience() < patience/2 {
				t.Errorf("patience() after a message = %v, want about %v", f.patience(), patience)
			}
		})
	}
}

// TestTakeLosesNothing: of more messages than one state takes in, the rest is
// left for the next, and is no gap.
func TestTakeLosesNothing(t *testing.T) {
	const more = 3
	r := &Registry{bucket: bucket{name: "test"}, log: slog.New(slog.DiscardHandler)}
	f := &feed{registry: r, messages: make(chan *natsgo.Msg, maxBatch+more)}
	w := &watcher{registry: r, feed: f}
	for i := range maxBatch + more {
		m := message(strconv.Itoa(i+1), "Header", "")
		m.Subject = fmt.Sprintf("$KV.test.greeter.%d", i)
		m.Data = fmt.Appendf(nil, `{"name":"greeter","nodes":[{"id":"%d","address":"127.0.0.1:1"}]}`, i)
		f.messages <- m
	}
	if err := w.take(<-f.messages); err != nil {
		t.Fatalf("take() error = %v", err)
	}
	if got := len(f.messages); got != more {
		t.Errorf("take() of %d messages leaves %d, want %d", maxBatch+more, got, more)
	}
	if err := w.take(<-f.messages); err != nil || w.feed == nil {
		t.Fatalf("take() error = %v, or it found a gap; want none", err)
	}
	if got := len(w.records.Services()[0].Nodes); got != maxBatch+more {
		t.Errorf("take() of %d nodes has %d of them", maxBatch+more, got)
	}
}

// TestTakeLosesContact: a feed that the server ends is a loss of contact, which is
// told once; messages that were lost on the way are none.
func TestTakeLosesContact(t *testing.T) {
	end := &natsgo.Msg{Header: natsgo.Header{headerStatus: {"409"}, "Description": {"Consumer Deleted"}}}
	tests := []struct {
		name    string
		message *natsgo.Msg
		lost    bool // before
		want    bool
	}{
		{"the server ends it", end, false, true},
		{"the server ends it, and that is known", end, true, false},
		{"a gap", message("9", "Header", ""), false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &Registry{bucket: bucket{name: "test"}, log: slog.New(slog.DiscardHandler)}
			w := &watcher{registry: r, lost: tt.lost, feed: &feed{registry: r, done: make(chan struct{}), sub: new(natsgo.Subscription)}}
			if err := w.take(tt.message); errors.Is(err, registry.ErrUnavailable) != tt.want || w.feed != nil {
				t.Errorf("take() error = %v, with a feed: %t; want a loss of contact: %t, and none", err, w.feed != nil, tt.want)
			}
		})
	}
}

// TestFeedComplete: a state is complete when all was read that was there, and
// what this registry wrote before, but that is not waited for without end.
func TestFeedComplete(t *testing.T) {
	soon, past := time.Now().Add(time.Minute), time.Now().Add(-time.Minute)
	tests := []struct {
		name string
		feed feed
		want bool
	}{
		{"empty bucket", feed{}, true},
		{"values are to come", feed{pending: 1}, false},
		{"a write is to come", feed{position: 6, want: 7, until: soon}, false},
		{"the write came", feed{position: 7, want: 7, until: soon}, true},
		{"the write never came", feed{position: 6, want: 7, until: past}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.feed.complete(); got != tt.want {
				t.Errorf("complete() = %v, want %v", got, tt.want)
			}
		})
	}
}

// message returns the message of a place in a feed, with a header.
func message(place, header, value string) *natsgo.Msg {
	return &natsgo.Msg{
		Subject: "$KV.test.greeter.1",
		Reply:   "$JS.ACK.KV_test.consumer.1.9." + place + ".1700000000000000000.2",
		Header:  natsgo.Header{header: {value}},
		Data:    []byte("data"),
		Sub:     new(natsgo.Subscription),
	}
}

func control(header, value string) *natsgo.Msg {
	return &natsgo.Msg{Header: natsgo.Header{headerStatus: {statusControl}, header: {value}}}
}
