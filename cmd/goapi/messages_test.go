package main

import (
	"bytes"
	"testing"

	"github.com/goapi-dev/goapi/admin"
)

func TestTypeOf(t *testing.T) {
	for body, want := range map[string]string{
		`{"a":1}`:  "application/json",
		"7":        "application/json",
		"plain":    "text/plain",
		"":         "text/plain",
		"\xff\x00": "application/octet-stream",
	} {
		if got := typeOf([]byte(body)); got != want {
			t.Errorf("typeOf(%q) = %s, want %s", body, got, want)
		}
	}
}

func TestPrintMessage(t *testing.T) {
	tests := []struct {
		body string
		raw  bool
		want string
	}{
		{`{"a": "<b>"}`, false, `{"id":"1","topic":"t","body":{"a":"<b>"}}` + "\n"},
		{"two\nlines\x1b[2J", false, `{"id":"1","topic":"t","body":"two\nlines\u001b[2J"}` + "\n"},
		{"\xff", false, `{"id":"1","topic":"t","body_base64":"/w=="}` + "\n"},
		{"", false, `{"id":"1","topic":"t"}` + "\n"},
		{"two\nlines", true, "two\nlines\n"},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		if err := printMessage(&out, &admin.Message{ID: "1", Topic: "t", Body: []byte(tt.body)}, tt.raw); err != nil {
			t.Error(err)
		}
		if got := out.String(); got != tt.want {
			t.Errorf("printMessage(%q, raw %v) = %q, want %q", tt.body, tt.raw, got, tt.want)
		}
	}
}
