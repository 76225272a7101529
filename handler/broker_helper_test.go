package handler_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
)

// everything lets everybody do everything.
func everything() *handler.BrokerOptions {
	return &handler.BrokerOptions{Publish: []string{"**"}, Subscribe: []string{"**"}, Groups: []string{"**"}}
}

// startBroker serves a broker, and returns the URL of a topic.
func startBroker(t testing.TB, b broker.Broker, opts *handler.BrokerOptions) string {
	t.Helper()
	return startServer(t, handler.Broker(b, opts)) + "/?topic=orders"
}

// publishText publishes bodies on the topic of startBroker.
func publishText(t testing.TB, b broker.Publisher, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if err := b.Publish(t.Context(), "orders", &broker.Message{Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
}

// An eventReader reads server-sent events as the standard of HTML has it.
type eventReader struct {
	r      *bufio.Reader
	body   io.Closer
	lastID string
}

// An sse is a server-sent event.
type sse struct{ id, name, data string }

// openEvents opens a stream of events, with headers as pairs.
func openEvents(t testing.TB, url string, header ...string) *eventReader {
	t.Helper()
	res := askEvents(t, url, header...)
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != asEvents {
		t.Fatalf("GET %s = %s", url, textOf(res))
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return newEventReader(res.Body)
}

func newEventReader(body io.ReadCloser) *eventReader {
	return &eventReader{r: bufio.NewReader(body), body: body}
}

func askEvents(t testing.TB, url string, header ...string) *http.Response {
	t.Helper()
	return request(t, http.MethodGet, url, "", append([]string{"Accept", asEvents}, header...)...)
}

// request sends a request on a connection of its own, with headers as pairs.
func request(t testing.TB, method, url, body string, header ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // of a whole stream of events on a busy machine
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	tr := &http.Transport{DisableKeepAlives: true}
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// read returns the next event, or why there is none.
func (e *eventReader) read() (sse, error) {
	var (
		next sse
		data []string
	)
	for {
		line, err := e.r.ReadString('\n')
		if err != nil {
			return sse{}, err
		}
		line = strings.TrimRight(line, "\r\n")
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && data == nil:
			next = sse{}
		case line == "":
			next.id, next.data = e.lastID, strings.Join(data, "\n")
			return next, nil
		case name == "id":
			e.lastID = value
		case name == "event":
			next.name = value
		case name == "data":
			data = append(data, value)
		}
	}
}

// next returns the next event.
func (e *eventReader) next(t testing.TB) sse {
	t.Helper()
	next, err := e.read()
	if err != nil {
		t.Fatalf("read an event = %v", err)
	}
	return next
}

// bodies returns the bodies of the next n events, which are in JSON.
func (e *eventReader) bodies(t testing.TB, n int) string {
	t.Helper()
	var list []string
	for range n {
		list = append(list, bodyOf(t, e.next(t).data))
	}
	return strings.Join(list, " ")
}

// An envelope is a message in go-micro's JSON.
type envelope struct {
	Header map[string]string
	Body   []byte
}

func bodyOf(t testing.TB, text string) string {
	t.Helper()
	var m envelope
	if err := json.Unmarshal([]byte(text), &m); err != nil || m.Header["Micro-Topic"] != "orders" || m.Header["Micro-Id"] == "" {
		t.Fatalf("message = %.200s: %v; want an envelope", text, err)
	}
	return string(m.Body)
}

// wrapped is a broker of which a test changes what it needs to.
type wrapped struct {
	broker.Broker

	caps      func(*broker.Capabilities)
	publish   func(ctx context.Context, topic string, m *broker.Message) error
	subscribe func(ctx context.Context, topic string, opts *broker.SubscribeOptions) (broker.Subscription, error)
}

func (b *wrapped) Capabilities() broker.Capabilities {
	c := b.Broker.Capabilities()
	if b.caps != nil {
		b.caps(&c)
	}
	return c
}

func (b *wrapped) Publish(ctx context.Context, topic string, m *broker.Message) error {
	if b.publish != nil {
		return b.publish(ctx, topic, m)
	}
	return b.Broker.Publish(ctx, topic, m)
}

func (b *wrapped) Subscribe(ctx context.Context, topic string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
	if b.subscribe != nil {
		return b.subscribe(ctx, topic, opts)
	}
	return b.Broker.Subscribe(ctx, topic, opts)
}

// refusal returns the status and the detail of an answer that is an error.
func refusal(t testing.TB, res *http.Response) string {
	t.Helper()
	var e struct{ Detail string }
	if err := json.NewDecoder(res.Body).Decode(&e); err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("%s: the body is not JSON: %v", res.Status, err)
	}
	return fmt.Sprint(res.StatusCode, " ", e.Detail)
}
