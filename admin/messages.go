package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxEvent bounds a message that the client receives, in bytes.
const maxEvent = 64 << 20

// errEnded is returned for a subscription that ended without an error.
var errEnded = errors.New("admin: the gateway has ended the subscription")

// A Message is what the gateway's broker has published.
type Message struct {
	// ID is empty for a message that others put on the broker without one.
	ID    string
	Topic string
	// Position is the message's place in the topic, for Subscribe. It is empty
	// where the broker keeps no history.
	Position string
	Header   map[string]string
	Body     []byte
}

// Publish publishes a message through the gateway's broker, and returns its ID.
// Of the message, ID, Topic and Position mean nothing; a header Idempotency-Key
// makes the ID. Names in the header have no case: none may be there twice.
func (c *Client) Publish(ctx context.Context, topic string, m *Message) (id string, err error) {
	req, err := c.newRequest(ctx, http.MethodPost, "/broker?topic="+url.QueryEscape(topic), bytes.NewReader(m.Body))
	if err != nil {
		return "", err
	}
	req.Header["User-Agent"] = nil // it would be the message's
	given := make(map[string]bool, len(m.Header))
	for name, value := range m.Header {
		name = http.CanonicalHeaderKey(name)
		if given[name] {
			return "", fmt.Errorf("admin: header %s is there twice, in different case; want it once", name)
		}
		given[name] = true
		req.Header.Set(name, value)
	}
	var accepted struct{ ID string }
	err = c.answer(req, &accepted)
	return accepted.ID, err
}

// SubscribeOptions adjust Subscribe. A nil *SubscribeOptions means all defaults.
type SubscribeOptions struct {
	// From is where to begin: "earliest", a time as in RFC 3339, or after the
	// Position of a message. Default: now.
	From string
	// Group is whose messages to share. Default: none; all are received.
	Group string
	// Max is how many messages to receive. Those of a group are then known to
	// have been received, where others may come again. Default: no end.
	Max int
}

// Subscribe calls receive with each message of a topic, one after the other,
// until it returns an error, ctx is done or the gateway ends the subscription,
// and returns why; nil is that Max messages came. It does not begin again by
// itself.
func (c *Client) Subscribe(ctx context.Context, topic string, opts *SubscribeOptions, receive func(*Message) error) error {
	var o SubscribeOptions
	if opts != nil {
		o = *opts
	}
	query := url.Values{"topic": {topic}}
	if o.From != "" {
		query.Set("from", o.From)
	}
	if o.Group != "" {
		query.Set("queue", o.Group)
	}
	if o.Max > 0 {
		query.Set("max", strconv.Itoa(o.Max))
	}
	req, err := c.newRequest(ctx, http.MethodGet, "/broker?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	events, err := c.stream(req)
	if err != nil {
		return err
	}
	defer events.Close()
	n := 0
	err = receiveEvents(events, func(m *Message) error {
		n++
		return receive(m)
	})
	switch {
	case errors.Is(err, errEnded) && n == o.Max && n > 0:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// stream sends a request, and returns the body of the answer, which may take as
// long as it likes. The caller closes it.
func (c *Client) stream(req *http.Request) (io.ReadCloser, error) {
	endless := *c.http
	endless.Timeout = 0
	rsp, err := endless.Do(req)
	if err != nil {
		return nil, unreached(req, err)
	}
	if rsp.StatusCode == http.StatusOK {
		return rsp.Body, nil
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(rsp.Body, maxAnswer))
	if err != nil {
		return nil, unreached(req, err)
	}
	return nil, answeredError(rsp.StatusCode, b)
}

// receiveEvents reads server-sent events (WHATWG HTML, section 9.2.6) as the
// gateway writes them, one line of data each.
func receiveEvents(body io.Reader, receive func(*Message) error) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	var id, kind, data string
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			data = value
		}
		if lines.Text() != "" || data == "" {
			continue
		}
		if kind == "error" {
			return answeredError(http.StatusServiceUnavailable, []byte(data))
		}
		m, err := readMessage(id, data)
		if err != nil {
			return err
		}
		if err := receive(m); err != nil {
			return err
		}
		kind, data = "", ""
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("admin: the subscription broke off: %w", err)
	}
	return errEnded
}

// readMessage reads a message in go-micro's JSON.
func readMessage(position, data string) (*Message, error) {
	var envelope struct {
		Header map[string]string
		Body   []byte
	}
	if err := json.Unmarshal([]byte(data), &envelope); err != nil {
		return nil, fmt.Errorf("admin: an event is no message: %w", err)
	}
	m := &Message{Position: position, Header: envelope.Header, Body: envelope.Body}
	m.ID, m.Topic = m.Header["Micro-Id"], m.Header["Micro-Topic"]
	delete(m.Header, "Micro-Id")
	delete(m.Header, "Micro-Topic")
	return m, nil
}
