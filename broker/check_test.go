package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/goapi-dev/goapi/broker"
)

func TestCheckTopic(t *testing.T) {
	tests := []struct {
		topic string
		want  string // of the error; "" for none
	}{
		{"orders", ""},
		{"orders.created", ""},
		{"go.micro.evt.user-1_a", ""},
		{"用户.注册", ""},
		{"👨\u200d👩\u200d👧", ""},
		{"a/b:c=d%2A,e;f~g!h@i&j(k)l|m\\n\"o'p`q", ""},
		{"a.$b", ""},
		{"_INBOX.a", ""},
		{strings.Repeat("a", broker.MaxTopic), ""},
		{"", "is empty"},
		{strings.Repeat("a", broker.MaxTopic+1), "has 201 bytes, want at most 200"},
		{"\xff", "is not UTF-8"},
		{"a b", "white space"},
		{"a\u3000b", "white space"},
		{"a\nb", "white space"},
		{"a\x7fb", "control characters"},
		{"a\u009fb", "control characters"},
		{"*", "wildcard"},
		{"a.>", "wildcard"},
		{"a#", "wildcard"},
		{"+", "wildcard"},
		{"$SYS.a", "begins with $"},
		{".a", "empty word"},
		{"a.", "empty word"},
		{"a..b", "empty word"},
		{".", "empty word"},
	}
	for _, tt := range tests {
		t.Run(tt.topic, func(t *testing.T) {
			err := broker.CheckTopic(tt.topic)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("CheckTopic(%q) = %v, want nil", tt.topic, err)
			case tt.want != "" && (!errors.Is(err, broker.ErrTopic) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("CheckTopic(%q) = %v, want ErrTopic with %q", tt.topic, err, tt.want)
			case err != nil && (len(err.Error()) > 250 || !utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\n\x00")):
				t.Errorf("CheckTopic(%q) = %q, want a short line", tt.topic, err)
			}
		})
	}
}

// FuzzCheckTopic holds that what passes can mean one topic only, to any system,
// and that nothing passes with a wildcard added.
func FuzzCheckTopic(f *testing.F) {
	for _, topic := range []string{"orders", "a.b", "用户", "a..b", "*", "a.>", "$SYS", " ", "\xff", "a\x00"} {
		f.Add(topic)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		err := broker.CheckTopic(topic)
		if err != nil {
			if !errors.Is(err, broker.ErrTopic) || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("CheckTopic(%q) = %q, want ErrTopic in a line", topic, err)
			}
			return
		}
		if !utf8.ValidString(topic) || len(topic) > broker.MaxTopic || slices.Contains(strings.Split(topic, "."), "") {
			t.Fatalf("CheckTopic(%q) = nil", topic)
		}
		for _, r := range topic {
			if unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(broker.Wildcards, r) {
				t.Fatalf("CheckTopic(%q) = nil, with %q in it", topic, r)
			}
		}
		for _, w := range broker.Wildcards {
			for _, wild := range []string{topic + string(w), string(w) + topic, topic + "." + string(w)} {
				if broker.CheckTopic(wild) == nil {
					t.Fatalf("CheckTopic(%q) = nil", wild)
				}
			}
		}
	})
}

func TestMessageCheck(t *testing.T) {
	header := func(name, value string) *broker.Message {
		return &broker.Message{Header: map[string]string{name: value}}
	}
	tests := []struct {
		name string
		m    *broker.Message
		want string
	}{
		{"zero", &broker.Message{}, ""},
		{"any body", &broker.Message{Body: []byte("\x00\xff")}, ""},
		{"largest ID", &broker.Message{ID: strings.Repeat("i", 255)}, ""},
		{"ID with spaces", &broker.Message{ID: "a b ü"}, ""},
		{"largest name", header(strings.Repeat("n", 255), ""), ""},
		{"largest value", header("a", strings.Repeat("v", 65_535)), ""},
		{"tab", header("a", "b\tc"), ""},
		{"none", nil, "there is none"},
		{"ID too long", &broker.Message{ID: strings.Repeat("i", 256)}, "the ID"},
		{"ID with tab", &broker.Message{ID: "a\tb"}, "the ID"},
		{"ID with outer space", &broker.Message{ID: "a "}, "the ID"},
		{"no name", header("", "a"), `header ""`},
		{"name too long", header(strings.Repeat("n", 256), "a"), `header "nnn`},
		{"name with colon", header("a:b", "a"), `header "a:b"`},
		{"name with script", header("ä", "a"), `header "ä"`},
		{"value with line feed", header("a", "b\nc"), `header "a"`},
		{"value with NUL", header("a", "b\x00c"), `header "a"`},
		{"value not UTF-8", header("a", "\xff"), `header "a"`},
		{"value with outer tab", header("a", "b\t"), `header "a"`},
		{"value too long", header("a", strings.Repeat("v", 65_536)), `header "a"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.m.Check()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("Check() = %v, want nil", err)
			case tt.want != "" && (!errors.Is(err, broker.ErrMessage) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("Check() = %v, want ErrMessage with %q", err, tt.want)
			case err != nil && (len(err.Error()) > 250 || strings.ContainsAny(err.Error(), "\n\x00\xff")):
				t.Errorf("Check() = %q, want a short line", err)
			}
		})
	}
}

func TestMessageSize(t *testing.T) {
	m := &broker.Message{ID: "12", Topic: "is not counted", Header: map[string]string{"abc": "de"}, Body: make([]byte, 100)}
	if got, want := m.Size(), 2+3+2+4+100; got != want {
		t.Errorf("Size() = %d, want %d", got, want)
	}
}

func TestSubscribeOptionsFor(t *testing.T) {
	all := new(broker.Memory).Capabilities()
	var nothing *broker.SubscribeOptions
	got, err := nothing.For(broker.Capabilities{})
	want := broker.SubscribeOptions{InFlight: broker.DefaultInFlight, AckWait: broker.DefaultAckWait}
	if got != want || err != nil {
		t.Errorf("For() of nil = %+v, %v, want %+v", got, err, want)
	}
	tests := []struct {
		opts broker.SubscribeOptions
		caps broker.Capabilities
		want string
	}{
		{broker.SubscribeOptions{Group: "a b ü", InFlight: 1, AckWait: 1}, all, ""},
		{broker.SubscribeOptions{Start: broker.Start{Since: time.Unix(1, 0)}}, all, ""},
		{broker.SubscribeOptions{Group: "g"}, broker.Capabilities{}, "no groups"},
		{broker.SubscribeOptions{Start: broker.Start{Earliest: true}}, broker.Capabilities{}, "no history"},
		{broker.SubscribeOptions{Start: broker.Start{After: "1"}}, broker.Capabilities{Groups: true}, "no history"},
		{broker.SubscribeOptions{Start: broker.Start{After: "1", Earliest: true}}, all, "one of now, Earliest, After and Since"},
		{broker.SubscribeOptions{InFlight: -1}, all, "InFlight is -1"},
		{broker.SubscribeOptions{InFlight: broker.MaxInFlight + 1}, all, "InFlight is 10001"},
		{broker.SubscribeOptions{AckWait: -time.Second}, all, "AckWait is -1s"},
		{broker.SubscribeOptions{Group: strings.Repeat("g", 201)}, all, "group"},
		{broker.SubscribeOptions{Group: "a\x00"}, all, "group"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.opts), func(t *testing.T) {
			_, err := tt.opts.For(tt.caps)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("For() error = %v, want nil", err)
			case tt.want != "" && (!errors.Is(err, broker.ErrOptions) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("For() error = %v, want ErrOptions with %q", err, tt.want)
			}
		})
	}
}

func TestCapabilitiesMissing(t *testing.T) {
	tests := []struct {
		name string
		caps broker.Capabilities
		want int
	}{
		{"none", broker.Capabilities{}, 6},
		{"groups that do not last", broker.Capabilities{Groups: true}, 6},
		{"all", broker.Capabilities{
			Persistent: true, Redelivery: true, Ordered: true, Groups: true, LastingGroups: true, History: true, Dedup: 1,
		}, 0},
	}
	for _, tt := range tests {
		if got := tt.caps.Missing(); len(got) != tt.want {
			t.Errorf("%s: Missing() = %q, want %d sentences", tt.name, got, tt.want)
		}
	}
}

func TestMessageClean(t *testing.T) {
	m := &broker.Message{
		ID:     "a\nb",
		Header: map[string]string{"Good": "1", "bad name": "2", "Bad": "line\nfeed", ":topic": "3"},
		Body:   []byte("\xff"),
	}
	m.Clean()
	if m.ID != "" || len(m.Header) != 1 || m.Header["Good"] != "1" || string(m.Body) != "\xff" {
		t.Errorf("Clean() leaves %+v, want the good header and the body", m)
	}
	m.ID = "good"
	if m.Clean(); m.ID != "good" || m.Header["Good"] != "1" {
		t.Errorf("Clean() of a good message leaves %+v, want it whole", m)
	}
}
