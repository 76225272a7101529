package admin_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
)

// startMessages starts an admin API with a broker in memory.
func startMessages(t *testing.T) (url string, b *broker.Memory) {
	t.Helper()
	b = new(broker.Memory)
	all := []string{"**", "_own"}
	done := make(chan struct{})
	srv := httptest.NewServer(newAPI(t, &admin.Options{
		Token:  "s3cret",
		Broker: handler.Broker(b, &handler.BrokerOptions{Publish: all, Subscribe: all, Groups: []string{"**"}, Done: done}),
	}))
	t.Cleanup(func() {
		close(done)
		srv.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return srv.URL, b
}

func TestClientPublishesAndSubscribes(t *testing.T) {
	url, _ := startMessages(t)
	c := admin.NewClient(url, "s3cret")
	sent := []*admin.Message{
		{Header: map[string]string{"Content-Type": "text/plain", "X-A": "1"}, Body: []byte("one\ntwo\r\n: three")},
		{Header: map[string]string{"Content-Type": "application/octet-stream"}, Body: []byte{0, 0xff, '\n'}},
		{Header: map[string]string{"Content-Type": "text/plain"}},
		{Header: map[string]string{"Content-Type": "text/plain"}, Body: slices.Repeat([]byte("0123456789"), 100_000)},
	}
	var ids []string
	for _, m := range sent {
		id, err := c.Publish(t.Context(), "a.ä", m)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	var got []*admin.Message
	enough := errors.New("enough")
	receive := func(m *admin.Message) error {
		if got = append(got, m); len(got) == len(sent) {
			return enough
		}
		return nil
	}
	if err := c.Subscribe(t.Context(), "a.ä", &admin.SubscribeOptions{From: "earliest"}, receive); !errors.Is(err, enough) {
		t.Fatalf("Subscribe = %v, want the error of receive", err)
	}
	for i, m := range got {
		if m.ID != ids[i] || m.Topic != "a.ä" || m.Position == "" || !bytes.Equal(m.Body, sent[i].Body) || m.Header["X-A"] != sent[i].Header["X-A"] {
			t.Errorf("message %d = %q of %q at %q with %v, want what was published as %q", i, m.ID, m.Topic, m.Position, m.Header, ids[i])
		}
		if m.Header["User-Agent"] != "" || m.Header["Authorization"] != "" || m.Header["Micro-Id"] != "" {
			t.Errorf("message %d has the header %v, want the publisher's own", i, m.Header)
		}
	}
	after := &admin.SubscribeOptions{From: got[2].Position}
	err := c.Subscribe(t.Context(), "a.ä", after, func(m *admin.Message) error {
		if m.ID != ids[3] {
			t.Errorf("after the third message came %q, want %q", m.ID, ids[3])
		}
		return enough
	})
	if !errors.Is(err, enough) {
		t.Errorf("Subscribe after a position = %v", err)
	}
}

func TestClientSubscribesUntilItLeaves(t *testing.T) {
	url, b := startMessages(t)
	ctx, cancel := context.WithCancel(t.Context())
	if err := b.Publish(ctx, "a", &broker.Message{ID: "1"}); err != nil {
		t.Fatal(err)
	}
	err := admin.NewClient(url, "s3cret").Subscribe(ctx, "a", &admin.SubscribeOptions{From: "earliest", Group: "g"}, func(*admin.Message) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Subscribe of a client that leaves = %v, want context.Canceled", err)
	}
}

func TestClientSubscribesForSoMany(t *testing.T) {
	url, b := startMessages(t)
	c := admin.NewClient(url, "s3cret")
	for _, id := range []string{"1", "2", "3"} {
		if err := b.Publish(t.Context(), "a", &broker.Message{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"1", "2"} { // one member after the other
		var got []string
		err := c.Subscribe(t.Context(), "a", &admin.SubscribeOptions{From: "earliest", Group: "g", Max: 1}, func(m *admin.Message) error {
			got = append(got, m.ID)
			return nil
		})
		if err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("Subscribe = %q, %v; want %s", got, err, want)
		}
	}
}

func TestClientMessagesRefused(t *testing.T) {
	url, _ := startMessages(t)
	c := admin.NewClient(url, "s3cret")
	never := func(*admin.Message) error { return errors.New("received something") }
	for want, err := range map[string]error{
		"wildcard": c.Subscribe(t.Context(), "a.*", nil, never),
		"400":      c.Subscribe(t.Context(), "a", &admin.SubscribeOptions{From: "nonsense"}, never),
		"401":      admin.NewClient(url, "wrong").Subscribe(t.Context(), "a", nil, never),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Subscribe = %v, want an error with %q", err, want)
		}
	}
	twice := &admin.Message{Header: map[string]string{"Content-Type": "text/plain", "content-type": "image/png"}}
	if _, err := c.Publish(t.Context(), "a", twice); err == nil || !strings.Contains(err.Error(), "header Content-Type is there twice") {
		t.Errorf("Publish with two types = %v, want an error", err)
	}
	if _, err := c.Publish(t.Context(), "a b", new(admin.Message)); err == nil || !strings.Contains(err.Error(), "white space") {
		t.Errorf("Publish on a topic with a space = %v, want the reason", err)
	}
}

// TestClientDistrustsEvents has the client read what no gateway sends.
func TestClientDistrustsEvents(t *testing.T) {
	tests := []struct{ stream, want string }{
		{"", "has ended the subscription"},
		{"data: {\n\n", "no message"},
		{"event: error\ndata: {\"error\":\"slow\",\"code\":503,\"detail\":\"too slow\"}\n\n", "too slow"},
		{"id: 1\n\n: ping\n\n", "has ended the subscription"},
	}
	for _, tt := range tests {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tt.stream) }))
		err := admin.NewClient(srv.URL, "").Subscribe(t.Context(), "a", nil, func(m *admin.Message) error { t.Errorf("received %v", m); return nil })
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Subscribe to %q = %v, want an error with %q", tt.stream, err, tt.want)
		}
		srv.Close()
	}
}

func TestMessagesMayBeOfAnyType(t *testing.T) {
	url, _ := startMessages(t)
	post := func(header ...string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/broker?topic=a", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer s3cret")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		rsp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		rsp.Body.Close()
		return rsp.StatusCode
	}
	if got := post("Content-Type", "text/plain"); got != 202 {
		t.Errorf("a message as text = %d, want 202", got)
	}
	if got := post("Content-Type", "text/plain", "Origin", "https://evil.example"); got != 403 {
		t.Errorf("a message that a foreign page sends = %d, want 403", got)
	}
}
