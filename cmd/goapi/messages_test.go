package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

func TestHeaderOf(t *testing.T) {
	tests := []struct {
		name  string
		flags []string
		want  map[string]string
		err   string
	}{
		{"none", nil, map[string]string{"Content-Type": "text/plain"}, ""},
		{"another", []string{"x-a:1"}, map[string]string{"Content-Type": "text/plain", "X-A": "1"}, ""},
		{"the type in lower case", []string{"content-type: image/png"}, map[string]string{"Content-Type": "image/png"}, ""},
		{"no type", []string{"Content-Type:"}, map[string]string{"Content-Type": ""}, ""},
		{"colons and spaces", []string{" X-A :  b: c "}, map[string]string{"Content-Type": "text/plain", "X-A": "b: c"}, ""},
		{"no value", []string{"X-A"}, nil, "want 'NAME: VALUE'"},
		{"no name", []string{": x"}, nil, "want 'NAME: VALUE'"},
		{"twice", []string{"X-A: 1", "x-a: 1"}, nil, "X-A is there already"},
		{"a credential", []string{"X-Token: 1"}, nil, `"X-Token": it is not published`},
		{"of a request", []string{"via: x"}, nil, `"Via": it is not published`},
		{"of the answer", []string{"Accept: x"}, nil, `"Accept": it is not published`},
		{"of go-micro", []string{"Micro-Id: 1"}, nil, `"Micro-Id": it is not published`},
		{"a key", []string{"Idempotency-Key: 1"}, map[string]string{"Content-Type": "text/plain", "Idempotency-Key": "1"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := headerOf(tt.flags, []byte("hello"))
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("headerOf(%q) = %v, want an error with %q", tt.flags, err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("headerOf(%q) (-want +got):\n%s", tt.flags, diff)
			}
		})
	}
}
