package handler_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/goapi-dev/goapi/broker"
)

func TestBrokerSocketPublishes(t *testing.T) {
	tests := []struct {
		name   string
		header []string
		want   string // Content-Type of the message
	}{
		{"by default", nil, "text/plain"},
		{"as the handshake says", []string{"Content-Type", "application/json"}, "application/json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var mem broker.Memory
			conn := openSocket(t, startBroker(t, &mem, everything()), append(tt.header, "Authorization", "x", "Cookie", "y")...)
			sub := follow(t, &mem, "orders")
			writeText(t, conn, "hello")
			if err := conn.Write(limited(t), websocket.MessageBinary, []byte{0xff, 0}); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"hello", "\xff\x00"} {
				d := take(t, sub)
				if got := string(d.Body); got != want {
					t.Errorf("body = %q, want %q", got, want)
				}
				if len(d.Header) != 1 || d.Header["Content-Type"] != tt.want {
					t.Errorf("header = %v, want the Content-Type %s alone", d.Header, tt.want)
				}
				// Who publishes receives it, too.
				if got := bodyOf(t, strings.TrimPrefix(nextFrame(t, conn), "t")); got != want {
					t.Errorf("the client received %q, want %q", got, want)
				}
			}
		})
	}
}

func TestBrokerSocketRaw(t *testing.T) {
	var mem broker.Memory
	conn := openSocket(t, startBroker(t, &mem, everything()), "Subprotocol", "other", "Subprotocol", "raw")
	if got := conn.Subprotocol(); got != "raw" {
		t.Errorf("subprotocol = %q, want raw", got)
	}
	publishText(t, &mem, "text", "\xff", "")
	for _, want := range []string{"ttext", "b\xff", "t"} {
		if got := nextFrame(t, conn); got != want {
			t.Errorf("frame = %q, want %q", got, want)
		}
	}
}

func TestBrokerSocketOfAGroup(t *testing.T) {
	var mem broker.Memory
	url := startBroker(t, &mem, everything()) + "&queue=g"
	conn := openSocket(t, url, "Subprotocol", "JSON")
	if got := conn.Subprotocol(); got != "JSON" {
		t.Errorf("subprotocol = %q, want JSON as it was offered", got)
	}
	publishText(t, &mem, "a")
	if got := bodyOf(t, strings.TrimPrefix(nextFrame(t, conn), "t")); got != "a" {
		t.Errorf("received %s, want a", got)
	}
	if _, res, err := tryDial(t, url, "Last-Event-ID", "1"); err == nil {
		t.Errorf("dial with Last-Event-ID = %s, want an error", textOf(res))
	}
}

func TestBrokerSocketFrom(t *testing.T) {
	var mem broker.Memory
	publishText(t, &mem, "a", "b")
	conn := openSocket(t, startBroker(t, &mem, everything())+"&from=earliest", "Subprotocol", "raw")
	publishText(t, &mem, "c")
	for _, want := range []string{"ta", "tb", "tc"} {
		if got := nextFrame(t, conn); got != want {
			t.Errorf("frame = %q, want %q", got, want)
		}
	}
}

// TestBrokerSocketEnds holds what the connection of a client is closed with.
func TestBrokerSocketEnds(t *testing.T) {
	fails := func(err error) func(context.Context, string, *broker.Message) error {
		return func(context.Context, string, *broker.Message) error { return err }
	}
	tests := []struct {
		name    string
		publish []string
		err     error // of the broker
		kind    websocket.MessageType
		frame   string
		want    string
	}{
		{"not allowed", nil, nil, websocket.MessageText, "x", `1008 publishing on "orders" is not allowed here: the operator has not listed it`},
		{"too large", []string{"orders"}, nil, websocket.MessageText, strings.Repeat("x", 101), "1009 "},
		{"not UTF-8", []string{"orders"}, nil, websocket.MessageText, "\xff", "1007 the text is not UTF-8"},
		{"the broker is away", []string{"orders"}, broker.ErrUnavailable, websocket.MessageText, "x", "1013 a message was not published: the broker cannot be reached"},
		{"the broker is too small", []string{"orders"}, broker.ErrTooLarge, websocket.MessageText, "x", "1008 a message was not published: the message is larger than the broker takes"},
		{"the broker fails", []string{"orders"}, errors.New("secret"), websocket.MessageBinary, "x", "1011 a message was not published: Internal Server Error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := &wrapped{Broker: new(broker.Memory)}
			if tt.err != nil {
				b.publish = fails(tt.err)
			}
			opts := everything()
			opts.Publish, opts.MaxBody = tt.publish, 100
			conn := openSocket(t, startBroker(t, b, opts))
			if err := conn.Write(limited(t), tt.kind, []byte(tt.frame)); err != nil {
				t.Fatal(err)
			}
			if got := nextFrame(t, conn); !strings.HasPrefix(got, tt.want) {
				t.Errorf("the connection ended with %q, want %q", got, tt.want)
			}
		})
	}
}

func TestBrokerSocketLeaves(t *testing.T) {
	var mem broker.Memory
	closed := make(chan struct{}, 10)
	url := startBroker(t, &wrapped{Broker: &mem, subscribe: func(ctx context.Context, topic string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
		sub, err := mem.Subscribe(ctx, topic, opts)
		return &watched{sub, func() { closed <- struct{}{} }}, err
	}}, everything())
	if err := openSocket(t, url).Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("Close = %v", err)
	}
	receives(t, closed, "the end of a subscription")
	_ = openSocket(t, url).CloseNow()
	receives(t, closed, "the end of a subscription")
}

func TestBrokerSocketDone(t *testing.T) {
	done := make(chan struct{})
	opts := everything()
	opts.Done = done
	conn := openSocket(t, startBroker(t, new(broker.Memory), opts))
	close(done)
	if got, want := nextFrame(t, conn), "1001 the gateway is going away"; got != want {
		t.Errorf("the connection ended with %q, want %q", got, want)
	}
}

// TestBrokerSocketSlow holds that a client that does not read is cut off, and
// that publishing waits for it as little as others do.
func TestBrokerSocketSlow(t *testing.T) {
	var mem broker.Memory
	opts := everything()
	opts.Queue = 8
	url := startBroker(t, &mem, opts)
	slow, quick := openSocket(t, url, "Subprotocol", "raw"), openSocket(t, url, "Subprotocol", "raw")
	large := strings.Repeat("x", 64<<10)
	const n = 500
	for i := range n {
		publishText(t, &mem, fmt.Sprint(large, i))
		if got := nextFrame(t, quick); got != fmt.Sprint("t", large, i) {
			t.Fatalf("the quick one received %.10q…, want message %d", got, i)
		}
	}
	for i := range n {
		got := nextFrame(t, slow)
		if want := "1013 this client takes messages more slowly than they come; it may connect again"; got == want {
			return
		}
		if got != fmt.Sprint("t", large, i) {
			t.Fatalf("the slow one received %.100q, want message %d", got, i)
		}
	}
	t.Error("the slow one was not cut off")
}

func TestBrokerSocketRefuses(t *testing.T) {
	url := startBroker(t, new(broker.Memory), everything())
	tests := []struct {
		name   string
		url    string
		header []string
		want   string
	}{
		{"another page", url, []string{"Origin", "https://evil.example"}, "403"},
		{"no topic", strings.TrimSuffix(url, "?topic=orders"), nil, "400"},
		{"a content type that no message has", url, []string{"Content-Type", "a\xff"}, "400"},
		{"a format", url + "&format=raw", nil, "400"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, res, err := tryDial(t, tt.url, tt.header...)
			if got := textOf(res); err == nil || !strings.HasPrefix(got, tt.want) {
				t.Errorf("dial = %v, %s; want %s", err, got, tt.want)
			}
		})
	}
}
