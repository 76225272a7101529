package test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A ledger has what the gateway said that it published: the messages' tokens,
// and their IDs where the answer gave them.
type ledger struct {
	mu       sync.Mutex
	accepted map[string]string
}

// accept notes a message that was accepted.
func (l *ledger) accept(token, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.accepted == nil {
		l.accepted = make(map[string]string)
	}
	l.accepted[token] = id
}

func (l *ledger) tokens() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.accepted)
}

// tokenIn returns the token in a message; none if it has none, or several.
func tokenIn(body string) string {
	found := regexp.MustCompile(`token:([a-z0-9-]+);`).FindAllStringSubmatch(body, 2)
	if len(found) != 1 {
		return ""
	}
	return found[0][1]
}

// A verdict is what somebody's messages amount to.
type verdict struct {
	accepted, received int
	again              int      // messages that came more than once, under the same ID
	lost               []string // tokens that were accepted and did not come
	wrong              []string // what must not be: a token under two IDs, an ID of two tokens, …
}

// judge looks at what somebody received.
func (l *ledger) judge(got []message) verdict {
	accepted := l.tokens()
	v := verdict{accepted: len(accepted), received: len(got)}
	complain := func(format string, args ...any) { v.wrong = append(v.wrong, fmt.Sprintf(format, args...)) }
	ids, tokens := make(map[string]string), make(map[string]string)
	for _, m := range got {
		token := tokenIn(m.body)
		switch id, known := ids[token]; {
		case token == "" || m.id == "" || m.topic != eventTopic:
			complain("message %+v has no token, no ID or another topic", m)
			continue
		case known && id == m.id:
			v.again++
		case known:
			complain("token %s came under the IDs %s and %s", token, id, m.id)
			continue
		case tokens[m.id] != "":
			complain("ID %s came with the tokens %s and %s", m.id, tokens[m.id], token)
		}
		ids[token], tokens[m.id] = m.id, token
	}
	for token, id := range accepted {
		switch got, came := ids[token]; {
		case !came:
			v.lost = append(v.lost, token)
		case id != "" && got != id:
			complain("token %s came under the ID %s, and the answer said %s", token, got, id)
		}
	}
	slices.Sort(v.lost)
	return v
}

// check reports what is wrong.
func (v verdict) check(t *testing.T, who string) {
	t.Helper()
	t.Logf("%s: %d messages of %d accepted, %d of them again", who, v.received, v.accepted, v.again)
	if len(v.lost) > 0 {
		t.Errorf("%s: %d messages were accepted and lost: %q", who, len(v.lost), v.lost[:min(len(v.lost), 10)])
	}
	if len(v.wrong) > 0 {
		t.Errorf("%s: %d messages are wrong:\n%s", who, len(v.wrong), strings.Join(v.wrong[:min(len(v.wrong), 10)], "\n"))
	}
}

// TestLedger shows the judge what it must not overlook.
func TestLedger(t *testing.T) {
	m := func(token, id string) message {
		return message{topic: eventTopic, id: id, body: `{"data":"token:` + token + `;"}`}
	}
	one, two := m("one-1-", "i1"), m("two-2-0", "i2")
	tests := []struct {
		name        string
		got         []message
		lost        string
		again       int
		wrong       int
		otherAnswer bool
	}{
		{name: "all", got: []message{two, one}},
		{name: "more than was accepted", got: []message{one, two, m("three", "i3")}},
		{name: "again under the same ID", got: []message{one, two, one}, again: 1},
		{name: "again under another ID", got: []message{one, two, m("one-1-", "i3")}, wrong: 1},
		{name: "lost", got: []message{two}, lost: "one-1-"},
		{name: "one in another's place", got: []message{one, m("two-2-0", "i1")}, wrong: 1},
		{name: "another ID than was answered", got: []message{m("one-1-", "i3"), two}, wrong: 1},
		{name: "of another topic", got: []message{one, two, {topic: "other", id: "i3", body: "token:a;"}}, wrong: 1},
		{name: "without an ID", got: []message{one, m("two-2-0", "")}, lost: "two-2-0", wrong: 1},
		{name: "without a token", got: []message{one, two, {topic: eventTopic, id: "i3", body: "x"}}, wrong: 1},
		{name: "two in one", got: []message{one, {topic: eventTopic, id: "i2", body: one.body + two.body}}, lost: "two-2-0", wrong: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var l ledger
			l.accept("one-1-", "i1")
			l.accept("two-2-0", "")
			v := l.judge(tt.got)
			if got := strings.Join(v.lost, " "); got != tt.lost || v.again != tt.again || len(v.wrong) != tt.wrong {
				t.Errorf("judge = %+v, want lost %q, %d again, %d wrong", v, tt.lost, tt.again, tt.wrong)
			}
		})
	}
}
