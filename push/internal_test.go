package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
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
		h, sent := cloudEvent(m)
		for name, values := range h {
			if strings.HasPrefix(name, "Ce-") && strings.Trim(values[0], printableASCII()) != "" {
				t.Fatalf("%s: %q is no value of a header", name, values[0])
			}
		}
		if string(sent) == body && h.Get("Content-Type") == typeStructured {
			return // it was an event
		}
		read := cehttp.NewMessage(h, io.NopCloser(bytes.NewReader(sent)))
		e, err := binding.ToEvent(context.Background(), read)
		if err != nil {
			t.Fatalf("%v cannot be read: %v", h, err)
		}
		wantID, wantSubject := m.ID, ""
		if binary && eventID != "" {
			wantID, wantSubject = decode(eventID), decode(subject)
		}
		if e.ID() != wantID {
			t.Fatalf("id = %q, want %q", e.ID(), wantID)
		}
		if e.Subject() != wantSubject {
			t.Fatalf("subject = %q, want %q", e.Subject(), wantSubject)
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
		given := &failed{to: to, message: m, position: "7", reason: reason, attempts: 3}
		letter := given.letter(time.Now(), "")
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
		for _, without := range []string{cutHeader, cutBody} {
			letter := given.letter(time.Now(), without)
			l := letterOf(letter)
			if err := letter.Check(); err != nil || l.Cut != without || l.Size != len(body) || l.Position != "7" || l.MessageID != id || len(messageHeader(letter.Header)) > 0 {
				t.Fatalf("without its %s the letter is %+v, %v; want it of the same message", without, l, err)
			}
			if kept := string(letter.Body); kept != body && without == cutHeader || kept != "" && without == cutBody {
				t.Fatalf("without its %s the letter has the body %q, of %q", without, kept, body)
			}
		}
	})
}

// FuzzPath: a path that may be posted to is posted to, at the node and nowhere
// else.
func FuzzPath(f *testing.F) {
	for _, path := range []string{"/", "/hook?x=1", "//evil.example/x", "/{id}", "^/x$", "/a b", "http://evil.example", "/a%2Fb", "/%", "/#x", "/@evil.example", "/\"x", "/x?\"", "/x?"} {
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

// TestDrain: a body that never ends is closed, whatever would end its reader else.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body, end := io.Pipe()
		defer end.Close()
		began := time.Now()
		drain(&http.Response{StatusCode: http.StatusOK, Body: body})
		if got := time.Since(began); got != drainTime {
			t.Errorf("it took %v, want %v", got, drainTime)
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

// FuzzPile: whatever is given up and replayed, in whichever order, what is held is
// no more than may be and is counted, and who asks again for the rest asks for less.
func FuzzPile(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 0, 0})             // one letter, given up and replayed
	f.Add([]byte{0, 2, 0, 4, 1, 0, 0, 2, 1, 2}) // two for which there is no room together
	body := make([]byte, maxHeld+1)
	f.Fuzz(func(t *testing.T, steps []byte) {
		found, wanted := pile{letters: make(map[string]*DeadLetter), sizes: make(map[string]int)}, make(map[string]bool)
		for ; len(steps) > 1; steps = steps[2:] {
			id := string('a' + rune(steps[1]%8))
			wanted[id] = true
			if steps[0]%2 == 1 {
				found.remove(id)
				continue
			}
			found.add(&broker.Message{ID: id, Body: body[:len(body)/8*int(steps[0]/2%9)], Header: map[string]string{headerLetter: letterGivenUp}})
		}
		held, whole, rest := 0, 0, 0
		for id, l := range found.letters {
			if l == nil {
				rest++
				continue
			}
			whole++
			held += found.sizes[id]
		}
		if held != found.held || len(found.sizes) != whole || whole > 1 && held > maxHeld {
			t.Fatalf("%d letters of %d bytes are held, counted as %d of %d; want at most %d", whole, held, len(found.sizes), found.held, maxHeld)
		}
		if rest == len(wanted) && rest > 0 {
			t.Fatalf("of %d letters none is whole", rest)
		}
	})
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

// TestJudge: what does not count as an attempt, what is tried again, and that no
// reason holds a text of others.
func TestJudge(t *testing.T) {
	secret := errors.New("dial tcp 10.0.0.7:80: refused")
	tests := []struct {
		name   string
		err    error
		want   verdict
		reason string
		code   int // of a replay
	}{
		{"no nodes", fmt.Errorf("x: %w", upstream.ErrNoNodes), later, "no node of the service can be pushed to", 503},
		{"overloaded", upstream.ErrOverloaded, later, "the limits of the service are reached", 503},
		{"unreachable", &upstream.NodeError{Service: "s", Err: secret}, again, "the service could not be reached", 502},
		{"broken off", &upstream.NodeError{Service: "s", Sent: true, Err: secret}, again, "the service broke off before it answered", 502},
		{"late", &upstream.NodeError{Service: "s", Sent: true, Timeout: true, Err: secret}, again, "the service did not answer in time", 504},
		{"past the deadline", context.DeadlineExceeded, again, "the service did not answer in time", 504},
		{"an operator who left", fmt.Errorf("upstream: %w: %w", context.Canceled, secret), again, "the gateway failed; its log says why", 499},
		{"something else", secret, again, "the gateway failed; its log says why", 502},
		{"refused", &refusal{status: 403, reason: "no"}, never, "no", 502},
		{"cannot be sent", (&Pusher{}).push(t.Context(), nil, &broker.Message{Header: map[string]string{"a b": ""}}), never, "the message has an ID or a header that HTTP cannot carry", 502},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := judge(tt.err); got.verdict != tt.want || got.reason != tt.reason {
				t.Errorf("judge(%v) = %+v, want %d because %s", tt.err, got, tt.want, tt.reason)
			}
			var e *goapi.Error
			if err := notTaken("mailer", tt.err); !errors.As(err, &e) || e.Code != tt.code || strings.Contains(e.Detail, "10.0.0.7") {
				t.Errorf("notTaken(%v) = %v, want %d", tt.err, err, tt.code)
			}
		})
	}
}

// TestBound: a gateway pushes so much and no more; what it pushes already goes
// before what is new.
func TestBound(t *testing.T) {
	r := newReader(&Options{Topics: []string{"**"}, Logger: slog.New(slog.DiscardHandler)})
	var services []*registry.Service
	for i := range maxSubscriptions/50 + 2 {
		s := &registry.Service{Name: fmt.Sprintf("s-%03d", i), Nodes: []*registry.Node{{ID: "1", Address: "10.0.0.1:80"}}}
		for j := range 50 {
			s.Endpoints = append(s.Endpoints, &registry.Endpoint{Name: fmt.Sprint(j), Metadata: map[string]string{
				"subscriber": "true", "push": "true", "topic": fmt.Sprintf("t-%02d", j),
			}})
		}
		services = append(services, s)
	}
	last := services[len(services)-1].Name
	got := r.read(services, func(k key) bool { return k.service == last })
	if len(got) != maxSubscriptions || got[key{last, "t-49"}] == nil || got[key{services[len(services)-2].Name, "t-49"}] != nil {
		t.Errorf("%d subscribers, want %d with those of %s, and without the last of the others", len(got), maxSubscriptions, last)
	}
	if len(r.reported) != 50*len(services)-maxSubscriptions {
		t.Errorf("%d reports, want %d", len(r.reported), 50*len(services)-maxSubscriptions)
	}
	for i := range maxReported + 1 {
		r.reported[report{service: fmt.Sprint(i)}] = struct{}{}
	}
	if again := r.read(services, func(k key) bool { return got[k] != nil }); len(again) != len(got) || len(r.reported) > maxReported {
		t.Errorf("the next time %d subscribers and %d reports, want %d and at most %d", len(again), len(r.reported), len(got), maxReported)
	}
}

// TestExcused: what is remembered of attempts that do not count is bounded.
func TestExcused(t *testing.T) {
	s := &subscription{excused: make(map[string]int)}
	for i := range maxExcused + 10 {
		if counted, excuses := s.count(fmt.Sprint(i), 1, true); counted != 1 || excuses != 1 {
			t.Fatalf("count = %d, %d; want 1, 1", counted, excuses)
		}
	}
	if len(s.excused) > maxExcused {
		t.Errorf("%d messages are excused, want at most %d", len(s.excused), maxExcused)
	}
	last := fmt.Sprint(maxExcused + 9)
	if counted, excuses := s.count(last, 5, false); counted != 4 || excuses != 1 {
		t.Errorf("count of the fifth delivery = %d, %d; want 4 attempts and 1 that was none", counted, excuses)
	}
}

// TestDecode: the values are those of the handlers' tests, and mean what they mean
// there: where a request is refused, a message's value is itself.
func TestDecode(t *testing.T) {
	tests := []struct{ name, value, want string }{
		{"quoted", `"a b"`, "a b"},
		{"escaped in quotes", `"a \"b\" \\ \c"`, `a "b" \ c`},
		{"encoded in quotes", `"%22"`, `"`},
		{"one quote", `"a`, `"a`},
		{"a quote alone", `"`, `"`},
		{"nothing in quotes", `""`, ""},
		{"two quoted texts", `"a" "b"`, `"a" "b"`},
		{"an end that is none", `"a\"`, `"a\"`},
		{"quotes within", `say "a"`, `say "a"`},
		{"one round", "%2541", "%41"},
		{"of the standard", "Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"},
		{"lower case", "%e2%82%aC", "€"},
		{"needless", "%41%62%2D", "Ab-"},
		{"not encoded", "Euro €", "Euro €"},
		{"one bad escape beside a good one", "100%25 of 5%, caf%C3%A9 %zz %4", "100% of 5%, café %zz %4"},
		{"a percent sign at the end", "a%20b%", "a b%"},
		{"no number of two digits", "%+1%-1%0x", "%+1%-1%0x"},
		{"not UTF-8", "%C0%A0", "%C0%A0"},
		{"half a character", "a%E2%82", "a%E2%82"},
		{"a surrogate", "%ED%A0%80", "%ED%A0%80"},
	}
	for _, tt := range tests {
		if got := decode(tt.value); got != tt.want {
			t.Errorf("%s: decode(%s) = %q, want %q", tt.name, tt.value, got, tt.want)
		}
		if got := decode(encode(tt.want)); got != tt.want {
			t.Errorf("%s: decode(encode(%q)) = %q", tt.name, tt.want, got)
		}
	}
}
