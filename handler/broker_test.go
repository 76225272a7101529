package handler_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
)

// only keeps the headers of a message that a test is about.
func only(header map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(header)) {
		if name != "User-Agent" {
			list = append(list, name+"="+header[name])
		}
	}
	return strings.Join(list, " ")
}

// follow subscribes to a topic within the process.
func follow(t testing.TB, b broker.Subscriber, topic string) broker.Subscription {
	t.Helper()
	sub, err := b.Subscribe(t.Context(), topic, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Close() })
	return sub
}

func take(t testing.TB, sub broker.Subscription) *broker.Delivery {
	t.Helper()
	d, err := sub.Next(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestBrokerPublishes(t *testing.T) {
	all := []string{
		"Content-Type", "text/csv", "X-Shop", "a", "X-Shop", "b", "Authorization", "Bearer x", "Cookie", "c=d", "X-Api-Key", "k",
		"X-Auth-Token", "t", "Micro-Topic", "others", "X-Forwarded-For", "192.0.2.7", "Connection", "X-Hop", "X-Hop", "1", "Accept-Encoding", "gzip",
	}
	tests := []struct {
		name   string
		filter handler.BrokerHeader
		want   string
	}{
		{"by default", handler.BrokerHeader{}, "Content-Type=text/csv X-Shop=a, b"},
		{"allowed", handler.BrokerHeader{Allow: []string{"cookie", "x-shop", "connection", "micro-topic"}}, "Cookie=c=d X-Shop=a, b"},
		{"denied", handler.BrokerHeader{Deny: []string{"x-shop"}}, "Content-Type=text/csv"},
		{"both", handler.BrokerHeader{Allow: []string{"Cookie"}, Deny: []string{"Cookie"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var mem broker.Memory
			opts := everything()
			opts.Header = tt.filter
			url := startBroker(t, &mem, opts)
			sub := follow(t, &mem, "orders")
			res := request(t, http.MethodPost, url, "1;2\xff", all...)
			var answer struct{ ID string }
			if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusAccepted {
				t.Fatalf("POST = %s, %v; want 202 with an id", res.Status, err)
			}
			d := take(t, sub)
			if d.ID != answer.ID || d.ID == "" || string(d.Body) != "1;2\xff" {
				t.Errorf("message = %q %q, want the body under the id %q", d.ID, d.Body, answer.ID)
			}
			if got := only(d.Header); got != tt.want {
				t.Errorf("headers = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestBrokerPublishesOnceForAKey(t *testing.T) {
	var mem broker.Memory
	url := startBroker(t, &mem, everything())
	sub := follow(t, &mem, "orders")
	for _, key := range []string{"a", "a", "b"} {
		if res := request(t, http.MethodPost, url, key, "Idempotency-Key", key); res.StatusCode != http.StatusAccepted {
			t.Fatalf("POST = %s", textOf(res))
		}
	}
	if a, b := string(take(t, sub).Body), string(take(t, sub).Body); a != "a" || b != "b" {
		t.Errorf("received %s, %s; want a, b", a, b)
	}
}

func TestBrokerRefuses(t *testing.T) {
	const events = "Accept: " + asEvents
	tests := []struct {
		name, method, query string
		header              string // one
		body                string
		want                string
	}{
		{"no topic", "POST", "", "", "", "400 Topic not specified: give it as ?topic=NAME"},
		{"an empty topic", "POST", "topic=", "", "", "400 topic: give it once, with a value"},
		{"two topics", "POST", "topic=a&topic=b", "", "", "400 topic: give it once, with a value"},
		{"a wildcard", "POST", "topic=a.*", "", "", `400 invalid topic: "a.*" has a wildcard in it: one of *>#+`},
		{"a space", "GET", "topic=a+b", events, "", `400 invalid topic: "a b" has white space in it`},
		{"a typo", "POST", "topic=a&quene=b", "", "", `400 "quene" is no parameter of POST; known: topic`},
		{"a topic that is not listed", "POST", "topic=secret.plans", "", "", `403 publishing on "secret.plans" is not allowed here: the operator has not listed it`},
		{"a topic that is not listed for receiving", "GET", "topic=in.a", events, "", `403 receiving "in.a" is not allowed here: the operator has not listed it`},
		{"a group that is not listed", "GET", "topic=out.a&queue=billing", events, "", `403 joining the group "billing" is not allowed here: the operator has not listed it`},
		{"a large body", "POST", "topic=in.a", "", strings.Repeat("x", 101), "413 the body is larger than 100 bytes"},
		{"another method", "PUT", "topic=in.a", "", "", "405 the broker is for GET, POST"},
		{"a GET of neither kind", "GET", "topic=out.a", "", "", "406 a subscription has no end: open a WebSocket, or send the header Accept: text/event-stream"},
		{"a GET of anything", "GET", "topic=out.a", "Accept: */*", "", "406 a subscription has no end: open a WebSocket, or send the header Accept: text/event-stream"},
		{"lines", "GET", "topic=out.a", "Accept: application/x-ndjson", "", "406 a subscription has no end: open a WebSocket, or send the header Accept: text/event-stream"},
		{"a strange format", "GET", "topic=out.a&format=xml", events, "", "400 format is json or raw"},
		{"a strange position", "GET", "topic=out.a&from=era-7", events, "", "410 the broker does not know this position, or not any more: begin with ?from=earliest, or now"},
		{"a word for a position", "GET", "topic=out.a&from=yesterday", events, "", `400 from="yesterday" is neither earliest, a time such as 2006-01-02T15:04:05Z, nor a position`},
		{"a date for a position", "GET", "topic=out.a&from=2026-01-01", events, "", `400 from="2026-01-01" is neither earliest, a time such as 2006-01-02T15:04:05Z, nor a position`},
		{"a time that nothing can count", "GET", "topic=out.a&from=9999-01-01T00:00:00Z", events, "", `400 from="9999-01-01T00:00:00Z" is later than any time that is known here`},
		{"another page", "POST", "topic=in.a", "Origin: https://evil.example", "", `403 pages of the origin "https://evil.example" may not use the broker`},
		{"another page that reads", "GET", "topic=out.a", "Origin: null", "", `403 pages of the origin "null" may not use the broker`},
	}
	url := startServer(t, handler.Broker(new(broker.Memory), &handler.BrokerOptions{
		Publish: []string{"in.*"}, Subscribe: []string{"out.**"}, Groups: []string{"public.*"}, MaxBody: 100, Origins: []string{"https://shop.example"},
	}))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var header []string
			if name, value, ok := strings.Cut(tt.header, ": "); ok {
				header = []string{name, value}
			}
			res := request(t, tt.method, url+"/?"+tt.query, tt.body, header...)
			if got := refusal(t, res); got != tt.want {
				t.Errorf("%s ?%s = %s, want %s", tt.method, tt.query, got, tt.want)
			}
			if allow := res.Header.Get("Allow"); (allow != "") != (res.StatusCode == http.StatusMethodNotAllowed) {
				t.Errorf("Allow = %q with %d", allow, res.StatusCode)
			}
		})
	}
}

func TestBrokerBelowItsPath(t *testing.T) {
	url := startServer(t, handler.Broker(new(broker.Memory), everything()))
	if got, want := refusal(t, request(t, http.MethodPost, url+"/orders.new", "x")), `404 there is nothing at "/orders.new" of the broker: give the topic as ?topic=NAME`; got != want {
		t.Errorf("POST = %s, want %s", got, want)
	}
}

func TestBrokerAllowsNothingByDefault(t *testing.T) {
	for _, opts := range []*handler.BrokerOptions{nil, {}} {
		url := startBroker(t, new(broker.Memory), opts)
		if res := request(t, http.MethodPost, url, ""); res.StatusCode != http.StatusForbidden {
			t.Errorf("POST = %s, want 403", res.Status)
		}
		if res := askEvents(t, url); res.StatusCode != http.StatusForbidden {
			t.Errorf("GET of events = %s, want 403", res.Status)
		}
		if _, res, err := tryDial(t, url); err == nil || res.StatusCode != http.StatusForbidden {
			t.Errorf("GET of a WebSocket = %v, %s; want 403", err, textOf(res))
		}
	}
}

func TestBrokerServesPages(t *testing.T) {
	opts := everything()
	opts.Origins = []string{"https://shop.example"}
	url := startBroker(t, new(broker.Memory), opts)
	host, _, _ := strings.Cut(url, "/?")
	for _, origin := range []string{"https://shop.example", host} {
		if res := request(t, http.MethodPost, url, "x", "Origin", origin); res.StatusCode != http.StatusAccepted {
			t.Errorf("POST of a page of %s = %s, want 202", origin, res.Status)
		}
	}
}

// TestBrokerFails holds what clients see of a broker that fails.
func TestBrokerFails(t *testing.T) {
	tests := []struct {
		name  string
		err   error
		want  string
		retry bool
	}{
		{"away", fmt.Errorf("%w: dial 192.0.2.1", broker.ErrUnavailable), "503 the broker cannot be reached", true},
		{"closed", broker.ErrClosed, "503 the broker cannot be reached", true},
		{"late", context.DeadlineExceeded, "504 the broker did not answer in time", false},
		{"too large", broker.ErrTooLarge, "413 the message is larger than the broker takes", false},
		{"a topic of its own", fmt.Errorf("%w: secret", broker.ErrTopic), "400 the broker has no such topics", false},
		{"a message of its own", broker.ErrMessage, "400 the broker cannot carry such a message", false},
		{"options of its own", broker.ErrOptions, "400 the broker has no such subscriptions", false},
		{"unknown", errors.New("secret"), "500 the gateway failed; its log says why", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url := startBroker(t, &wrapped{
				Broker:  new(broker.Memory),
				publish: func(context.Context, string, *broker.Message) error { return tt.err },
				subscribe: func(context.Context, string, *broker.SubscribeOptions) (broker.Subscription, error) {
					return nil, tt.err
				},
			}, everything())
			for _, res := range []*http.Response{request(t, http.MethodPost, url, "x"), askEvents(t, url), askEvents(t, url+"&queue=a")} {
				want := tt.want
				if res.Request.Method == http.MethodPost && tt.err == context.DeadlineExceeded { //nolint:errorlint // the one in the table
					want += mayBePublished
				}
				if got := refusal(t, res); got != want {
					t.Errorf("%s = %s, want %s", res.Request.Method, got, want)
				}
				if got := res.Header.Get("Retry-After"); (got != "") != tt.retry {
					t.Errorf("Retry-After = %q, want one: %v", got, tt.retry)
				}
			}
		})
	}
}

// mayBePublished is what a publisher is told besides when the broker is late.
const mayBePublished = "; the message may have been published: send it again with the same Idempotency-Key, or id"

func TestBrokerPublishesInTime(t *testing.T) {
	opts := everything()
	opts.Timeout = 1 // ns
	url := startBroker(t, &wrapped{Broker: new(broker.Memory), publish: func(ctx context.Context, _ string, _ *broker.Message) error {
		<-ctx.Done()
		return ctx.Err()
	}}, opts)
	if got, want := refusal(t, request(t, http.MethodPost, url, "x")), "504 the broker did not answer in time"+mayBePublished; got != want {
		t.Errorf("POST = %s, want %s", got, want)
	}
}
