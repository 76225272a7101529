package nats

import (
	"bytes"
	"maps"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/broker"
)

func TestCovers(t *testing.T) {
	tests := []struct {
		subject, all string
		want         bool
	}{
		{"events.>", "events.>", true},
		{">", "events.>", true},
		{"*.>", "events.>", true},
		{"a.>", "a.b.>", true},
		{"a.*.>", "a.b.>", true},
		{"a.b.c.>", "a.b.>", false},
		{"a.b.*", "a.b.>", false},
		{"a.b", "a.b.>", false},
		{"events.*", "events.>", false},
		{"events", "events.>", false},
		{"other.>", "events.>", false},
		{"events.*.>", "events.>", false},
	}
	for _, tt := range tests {
		if got := covers(tt.subject, tt.all); got != tt.want {
			t.Errorf("covers(%q, %q) = %t, want %t", tt.subject, tt.all, got, tt.want)
		}
	}
}

func TestGroupName(t *testing.T) {
	seen := make(map[string]string)
	for _, topic := range []string{"a", "a.b", "ü"} {
		for _, group := range []string{"g", "b g", "G", "g.h", "g_h", "g h", "*", strings.Repeat("g", 200), strings.Repeat("g", 199), "用户"} {
			name := groupName(topic, group)
			if other, ok := seen[name]; ok {
				t.Errorf("groupName(%q, %q) = %q, which is %s's", topic, group, name, other)
			}
			seen[name] = topic + " " + group
			if len(name) > 80 || strings.ContainsAny(name, ".*>/\\ \t") {
				t.Errorf("groupName(%q, %q) = %q, want at most 80 bytes that NATS allows", topic, group, name)
			}
		}
	}
}

// FuzzMessage holds that a message comes back as it was, and that nothing in it
// means anything to NATS.
func FuzzMessage(f *testing.F) {
	f.Add("orders", "1", "Content-Type", "text/plain", "Nats-TTL", "1", []byte("body"))
	f.Add("a.b", "a b", "!Nats-TTL", "", "!!", "a\tb", []byte(nil))
	f.Add("ü", "", "status", "503", "Description", "a: b", []byte("\xff"))
	f.Fuzz(func(t *testing.T, topic, id, name1, value1, name2, value2 string, body []byte) {
		m := &broker.Message{ID: id, Header: map[string]string{name1: value1, name2: value2}, Body: body, Time: time.Unix(1, 5)}
		if broker.CheckTopic(topic) != nil || m.Check() != nil {
			return
		}
		c := config{shelf: shelf{prefix: "events."}}
		msg := &wire{Msg: natsgo.Msg{Header: natsgo.Header{"Old": {"1"}}, Data: []byte("old")}, values: []string{"1"}}
		msg.clear()
		if err := c.encode(msg, topic, m); err != nil {
			t.Fatalf("encode(%+v) error = %v", m, err)
		}
		for name := range msg.Header {
			if reserved(name) && name != headerID && name != headerTime {
				t.Fatalf("encode(%+v) has %q in its header", m, name)
			}
		}
		raw := natsgo.Msg{Header: make(natsgo.Header), Data: msg.Data} // as the client reads it
		for name, values := range msg.Header {
			if strings.ContainsAny(name+values[0], "\r\n") || strings.Trim(values[0], " \t") != values[0] {
				t.Fatalf("header %q: %q is not one line", name, values[0])
			}
			raw.Header[name] = values
		}
		got, err := c.decode(topic, &raw, time.Now())
		if err != nil || id != "" && got.ID != id || got.ID == "" || !maps.Equal(got.Header, m.Header) || !bytes.Equal(got.Body, body) || !got.Time.Equal(m.Time) {
			t.Fatalf("decode(encode(%+v)) = %+v", m, got)
		}
	})
}
