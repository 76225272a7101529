package push

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/goapi-dev/goapi/broker"
)

// FuzzCloudEvent: whatever message a broker has, the library of CloudEvents reads
// an event from it, with the ID, subject and data that went in.
func FuzzCloudEvent(f *testing.F) {
	f.Add("m-1", "orders", "text/plain", "", "", "hello", int64(0), false)
	f.Add("naïve \"1\" 5%", "bücher.新", "", "100%", "a%20b", "\xff", int64(1e12), true)
	f.Add("", "a.b", "application/json", "x", "", `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`, int64(5), false)
	f.Add("%25", "a", "application/json; charset=utf-8", "e", "%zz", `{"specversion":1}`, int64(-5e12), true)
	f.Fuzz(func(t *testing.T, id, topic, kind, eventID, subject, body string, at int64, binary bool) {
		m := &broker.Message{ID: id, Topic: topic, Header: map[string]string{}, Body: []byte(body), Time: time.UnixMilli(at % 1e14)}
		if kind != "" {
			m.Header["Content-Type"] = kind
		}
		if binary {
			for name, value := range map[string]string{"specversion": "1.0", "id": eventID, "source": "/s", "type": "t", "subject": subject} {
				m.Header["ce-"+name] = value
			}
		}
		if m.Check() != nil || broker.CheckTopic(topic) != nil || strings.HasPrefix(strings.ToLower(kind), cloudType) || at < 0 {
			return
		}
		m = identified(m)
		h := cloudEvent(m)
		for name, values := range h {
			if strings.HasPrefix(name, "Ce-") && strings.Trim(values[0], printableASCII()) != "" {
				t.Fatalf("%s: %q is not percent-encoded", name, values[0])
			}
		}
		read := cehttp.NewMessage(h, io.NopCloser(strings.NewReader(body)))
		if read.ReadEncoding() == binding.EncodingStructured {
			return // the body is as it was
		}
		e, err := binding.ToEvent(context.Background(), read)
		if err != nil {
			t.Fatalf("%v cannot be read: %v", h, err)
		}
		wantID, wantSubject := m.ID, ""
		if binary && eventID != "" {
			wantID, wantSubject = decode(eventID), decode(subject)
		}
		if got := unescape(t, e.ID()); got != wantID {
			t.Fatalf("id = %q, want %q", got, wantID)
		}
		if got := unescape(t, e.Subject()); got != wantSubject {
			t.Fatalf("subject = %q, want %q", got, wantSubject)
		}
		if string(e.Data()) != body {
			t.Fatalf("data = %q, want %q", e.Data(), body)
		}
	})
}

func printableASCII() string {
	var b strings.Builder
	for c := byte('!'); c <= '~'; c++ {
		if c != '"' {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func unescape(t *testing.T, text string) string {
	t.Helper()
	text, err := url.PathUnescape(text)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// FuzzLetter: a message that is given up comes back out of its dead letter as it
// was, however its header is named.
func FuzzLetter(f *testing.F) {
	f.Add("m-1", "orders", "mailer", "OnOrders", "answered 400", "Content-Type", "text/plain", "body", int64(1e12))
	f.Add("a  b", "x.y", "s", "e\n\x00", "a\r\nb", "goapi-dead-letter-ID", "forged", "", int64(0))
	f.Fuzz(func(t *testing.T, id, topic, service, endpoint, reason, name, value, body string, at int64) {
		m := &broker.Message{ID: id, Topic: topic, Header: map[string]string{name: value}, Body: []byte(body), Time: time.UnixMilli(at % 1e14).UTC()}
		if m.Check() != nil || id == "" || broker.CheckTopic(topic) != nil || !isGroup(service) || at < 0 {
			return
		}
		to := &subscriber{key: key{service, topic}, endpoint: endpoint}
		letter := (&failed{to: to, message: m, reason: reason, attempts: 3}).letter(time.Now())
		if err := letter.Check(); err != nil {
			t.Fatalf("no broker takes the letter: %v", err)
		}
		l := letterOf(letter)
		l.Header, l.Body = messageHeader(letter.Header), letter.Body
		got := l.message()
		if got.ID != id || got.Topic != topic || l.Service != service || string(got.Body) != body || !got.Time.Equal(m.Time) || l.Attempts != 3 {
			t.Fatalf("message = %+v of %+v, want %+v", got, l, m)
		}
		if forged := strings.HasPrefix(strings.ToLower(name), "goapi-dead-letter"); got.Header[name] != value != forged && value != "" {
			t.Fatalf("header = %v, want %q: %q only if it is the message's own", got.Header, name, value)
		}
	})
}

// FuzzPath: a path that may be posted to is posted to, at the node and nowhere
// else.
func FuzzPath(f *testing.F) {
	for _, path := range []string{"/", "/hook?x=1", "//evil.example/x", "/{id}", "^/x$", "/a b", "http://evil.example", "/a%2Fb", "/%", "/#x", "/@evil.example"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if !isPath(path) {
			return
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:1"+path, nil)
		if err != nil || r.URL.Host != "127.0.0.1:1" || r.URL.User != nil {
			t.Fatalf("POST to %q = %v, %v; want it at the node", path, r, err)
		}
		if got := r.URL.RequestURI(); got != path {
			t.Fatalf("posted to %q, want %q", got, path)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	tests := []struct {
		name   string
		status int
		value  string
		want   time.Duration
	}{
		{"seconds", 503, "3", 3 * time.Second},
		{"seconds of 429", 429, "120", 2 * time.Minute},
		{"of another status", 500, "3", 0},
		{"none", 503, "", 0},
		{"negative", 503, "-3", 0},
		{"a fraction", 503, "1.5", 0},
		{"text", 503, "soon", 0},
		{"more than there is", 503, "99999999999999999999", 0},
		{"a time that is over", 503, "Mon, 02 Jan 2006 15:04:05 GMT", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := &http.Response{StatusCode: tt.status, Header: http.Header{"Retry-After": {tt.value}}}
			if got := retryAfter(res); got != tt.want {
				t.Errorf("retryAfter(%d, %q) = %v, want %v", tt.status, tt.value, got, tt.want)
			}
		})
	}
	at := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	res := &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {at}}}
	if got := retryAfter(res); got < 59*time.Minute || got > time.Hour {
		t.Errorf("retryAfter(503, in an hour) = %v, want about an hour", got)
	}
}

// TestShelf: the list keeps the newest, counts the others, and forgets what was
// replayed of either.
func TestShelf(t *testing.T) {
	s := shelf{letters: make(map[string]*DeadLetter), older: make(map[string]struct{})}
	id := func(i int) string { return "l-" + time.Duration(i).String() }
	for i := range 3*maxListed + 10 {
		s.add(&DeadLetter{ID: id(i)})
		s.add(&DeadLetter{ID: id(i)}) // again
		if i%3 == 1 {
			s.remove(id(i))
		}
	}
	s.add(&DeadLetter{ID: id(0)}) // one of those that are only counted
	s.remove(id(3))               // and another of them
	l := s.list()
	first, last := l.DeadLetters[0].ID, l.DeadLetters[len(l.DeadLetters)-1].ID
	if len(l.DeadLetters) != maxListed || l.More != 2007-maxListed-1 || last != id(3*maxListed+9) || first != id(1511) {
		t.Errorf("list = %d from %s to %s and %d more, want %d and %d more", len(l.DeadLetters), first, last, l.More, maxListed, 2007-maxListed-1)
	}
}

func TestCut(t *testing.T) {
	for in, want := range map[string]string{
		"":                 "",
		"one line":         "one line",
		" two\r\nlines\t ": "two lines",
		"a\x00b\xffc":      "a b c",
		"0123456789abc":    "0123456789…",
		"012345678é":       "012345678…",
	} {
		if got := cut(in, 10); got != want {
			t.Errorf("cut(%q) = %q, want %q", in, got, want)
		}
	}
}
