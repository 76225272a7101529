package broker_test

import (
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/broker"
)

func TestPatterns(t *testing.T) {
	tests := []struct {
		pattern, topic string
		want           bool
	}{
		{"a", "a", true},
		{"a", "a.b", false},
		{"a.b", "a", false},
		{"*", "a", true},
		{"*", "a.b", false},
		{"a.*.c", "a.b.c", true},
		{"a.*.c", "a.b.d", false},
		{"a.*.**", "a.b", false},
		{"a.*.**", "a.b.c.d", true},
		{"**", "a", true},
		{"**", "a.b.c", true},
		{"a.**", "a.b.c", true},
		{"a.**", "a", false},
		{"A", "a", false},
		{"**", "_own", false},
		{"*.a", "_own.a", false},
		{"_own", "_own", true},
		{"_own.*", "_own.a", true},
		{"a.*", "a._b", true},
	}
	for _, tt := range tests {
		if err := broker.CheckPattern(tt.pattern); err != nil {
			t.Errorf("CheckPattern(%q) = %v", tt.pattern, err)
		}
		if got := broker.NewPatterns("x.y", tt.pattern).Match(tt.topic); got != tt.want {
			t.Errorf("pattern %q matches %q = %v, want %v", tt.pattern, tt.topic, got, tt.want)
		}
	}
	if (broker.Patterns{}).Match("a") {
		t.Error("no patterns match a")
	}
}

func TestMalformedPatterns(t *testing.T) {
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "**.a", "a*", "***", "a b", "a.>", "#", "$a", "a\n"} {
		if err := broker.CheckPattern(bad); err == nil || !strings.Contains(err.Error(), "is no pattern") {
			t.Errorf("CheckPattern(%q) = %v, want an error that says what a pattern is", bad, err)
		}
		for _, topic := range []string{bad, "a", "b.a", "ab"} {
			if broker.NewPatterns(bad).Match(topic) {
				t.Errorf("the malformed pattern %q matches %q", bad, topic)
			}
		}
	}
}
