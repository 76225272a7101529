package handler_test

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/proto"
)

// A tap is a broker of which one sees what is published.
type tap struct {
	broker.Memory

	fail func(n int) error // called before the n-th message is published

	mu   sync.Mutex
	came []broker.Message // in order, those of a known ID too
}

func (b *tap) Publish(ctx context.Context, topic string, m *broker.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		if err := b.fail(len(b.came)); err != nil {
			return err
		}
	}
	if err := b.Memory.Publish(ctx, topic, m); err != nil {
		return err
	}
	seen := *m // which is the publisher's: it may change afterwards
	seen.Topic, seen.Header, seen.Body = topic, maps.Clone(m.Header), bytes.Clone(m.Body)
	b.came = append(b.came, seen)
	return nil
}

// only returns the only message that was published, as a subscriber gets it.
func (b *tap) only(t testing.TB) *broker.Delivery {
	t.Helper()
	if len(b.came) != 1 {
		t.Fatalf("%d messages were published, want one", len(b.came))
	}
	return b.receive(t, b.came[0].Topic, 1)[0]
}

// receive returns the first n messages of a topic.
func (b *tap) receive(t testing.TB, topic string, n int) []*broker.Delivery {
	t.Helper()
	s, err := b.Subscribe(t.Context(), topic, &broker.SubscribeOptions{Start: broker.Start{Earliest: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var list []*broker.Delivery
	for i := range n {
		d, err := s.Next(ctx)
		if err == nil {
			err = d.Ack(ctx)
		}
		if err != nil {
			t.Fatalf("message %d of %d on %q: %v", i+1, n, topic, err)
		}
		list = append(list, d)
	}
	return list
}

// postEvent sends a request to a handler, with headers as pairs.
func postEvent(h http.Handler, target, body string, header ...string) *httptest.ResponseRecorder {
	return sendEvent(h, http.MethodPost, target, body, header...)
}

func sendEvent(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// acceptedID returns the ID in the answer to a request that was published.
func acceptedID(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	var answer struct{ ID string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); w.Code != http.StatusAccepted || err != nil || answer.ID == "" {
		t.Fatalf("answer = %d %s, want 202 with an id", w.Code, w.Body)
	}
	return answer.ID
}

// wantError checks that a request is answered with an error of one line.
func wantError(t testing.TB, w *httptest.ResponseRecorder, status int, detail string) {
	t.Helper()
	var answer struct{ Detail string }
	err := json.Unmarshal(w.Body.Bytes(), &answer)
	if w.Code != status || err != nil || !strings.Contains(answer.Detail, detail) || strings.ContainsAny(answer.Detail, "\r\n") {
		t.Errorf("answer = %d %s, want %d with a line that has %q", w.Code, w.Body, status, detail)
	}
}

// eventOf returns the event in a message of JSON.
func eventOf(t testing.TB, m *broker.Delivery) *proto.Event {
	t.Helper()
	e := new(proto.Event)
	if err := json.Unmarshal(m.Body, e); err != nil {
		t.Fatalf("message %q: %v", m.Body, err)
	}
	return e
}
