package test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// A reply is the answer to a request. Its status is 0 if there is none, and its
// body says why.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) String() string { return fmt.Sprintf("%d %.300s", r.status, r.body) }

// post sends a body to a path, with a header of names and values.
func (p *process) post(address, path, body string, header ...string) reply {
	return p.request(http.MethodPost, address, path, body, header...)
}

// request sends a request with a header of names and values.
func (p *process) request(method, address, path, body string, header ...string) reply {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{body: err.Error()}
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		return reply{body: err.Error()}
	}
	return reply{rsp.StatusCode, rsp.Header, string(b)}
}

// A message is one as clients of the broker handler get it.
type message struct {
	position, id, topic string
	header              map[string]string
	body                string
}

// A statusError is that a stream of events was refused.
type statusError struct{ reply }

func (e *statusError) Error() string { return "no stream: " + e.String() }

// An eventSource reads messages as server-sent events (WHATWG HTML, section
// 9.2.6).
type eventSource struct {
	rsp   *http.Response
	lines *bufio.Scanner
}

// openEvents opens a stream of events, which the context bounds.
func openEvents(ctx context.Context, client *http.Client, url string, header ...string) (*eventSource, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rsp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if rsp.StatusCode != http.StatusOK {
		defer rsp.Body.Close()
		b, err := io.ReadAll(rsp.Body)
		return nil, errors.Join(&statusError{reply{rsp.StatusCode, rsp.Header, string(b)}}, err)
	}
	s := &eventSource{rsp: rsp, lines: bufio.NewScanner(rsp.Body)}
	s.lines.Buffer(nil, 64<<20)
	return s, nil
}

// next returns the next message.
func (s *eventSource) next() (message, error) {
	var m message
	var kind, data string
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			m.position = value
		case "event":
			kind = value
		case "data":
			data = value
		}
		if s.lines.Text() != "" || data == "" {
			continue
		}
		if kind != "" {
			return m, fmt.Errorf("event %q: %s", kind, data)
		}
		err := m.decode([]byte(data))
		return m, err
	}
	return m, errors.Join(io.ErrUnexpectedEOF, s.lines.Err())
}

// decode reads a message in the JSON of go-micro.
func (m *message) decode(data []byte) error {
	var envelope struct {
		Header map[string]string
		Body   []byte
	}
	if err := json.Unmarshal(data, &envelope); err != nil {
		return err
	}
	m.header, m.body = envelope.Header, string(envelope.Body)
	m.id, m.topic = m.header["Micro-Id"], m.header["Micro-Topic"]
	return nil
}

func (s *eventSource) close() { _ = s.rsp.Body.Close() }

// subscribe opens a stream of events, which ends with the test or when patience
// does.
func (p *process) subscribe(address, path string, header ...string) *eventSource {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	p.t.Cleanup(cancel)
	s, err := openEvents(ctx, http.DefaultClient, "http://"+address+path, header...)
	if err != nil {
		p.t.Fatalf("GET %s: %v", path, err)
	}
	p.t.Cleanup(s.close)
	return s
}

// receive returns the next message of a stream.
func (p *process) receive(s *eventSource) message {
	p.t.Helper()
	m, err := s.next()
	if err != nil {
		p.t.Fatalf("no message: %v\n%s", err, p.logged())
	}
	return m
}

// published returns the messages that a topic has, from the earliest on. What it
// publishes itself to know the end is not among them.
func (p *process) published(topic string) []message {
	p.t.Helper()
	path := "/broker?topic=" + url.QueryEscape(topic)
	end := p.post(p.admin, path, "end")
	var accepted struct{ ID string }
	if err := json.Unmarshal([]byte(end.body), &accepted); err != nil || end.status != http.StatusAccepted {
		p.t.Fatalf("publish on %s = %v", topic, end)
	}
	s := p.subscribe(p.admin, path+"&from=earliest")
	defer s.close()
	var list []message
	for {
		m := p.receive(s)
		if m.id == accepted.ID {
			return list
		}
		if m.body != "end" {
			list = append(list, m)
		}
	}
}

// bodies returns what the messages say.
func bodies(list []message) []string {
	var b []string
	for _, m := range list {
		b = append(b, m.body)
	}
	return b
}
