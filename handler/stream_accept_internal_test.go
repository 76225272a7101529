package handler

import (
	"slices"
	"strings"
	"testing"
)

func TestStreamType(t *testing.T) {
	tests := []struct {
		accept []string
		want   string
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"*/*"}, ""},
		{[]string{"text/*"}, ""},
		{[]string{"application/json"}, ""},
		{[]string{"text/event-stream"}, typeEvents},
		{[]string{"Text/Event-Stream"}, typeEvents},
		{[]string{"text/event-stream; charset=utf-8"}, typeEvents},
		{[]string{"application/x-ndjson"}, typeNDJSON},
		{[]string{"application/ndjson"}, typeNDJSON2},
		{[]string{"application/jsonl"}, typeJSONL},
		{[]string{"text/html, text/event-stream;q=0.1, */*;q=0.8"}, typeEvents},
		{[]string{"application/x-ndjson;q=0.5, text/event-stream"}, typeEvents},
		{[]string{"application/x-ndjson, text/event-stream"}, typeNDJSON},
		{[]string{"application/x-ndjson;q=0.5", "text/event-stream;q=0.501"}, typeEvents},
		{[]string{"text/event-stream;q=0"}, ""},
		{[]string{"text/event-stream;q=0.000, application/jsonl;q=0.001"}, typeJSONL},
		{[]string{"text/event-stream;q=1.000"}, typeEvents},
		{[]string{"text/event-stream;q=1.001"}, ""},
		{[]string{"text/event-stream;q=2"}, ""},
		{[]string{"text/event-stream;q=-1"}, ""},
		{[]string{"text/event-stream;q="}, ""},
		{[]string{"text/event-stream;q=0.0001"}, ""},
		{[]string{"text/event-stream;q=NaN"}, ""},
		{[]string{"text/event-stream;"}, typeEvents},
		{[]string{",,text/event-stream,,"}, typeEvents},
		{[]string{`text/plain;x="a,text/event-stream"`}, ""},
		{[]string{`text/plain;x="a\",text/event-stream",application/jsonl`}, typeJSONL},
		{[]string{`text/event-stream;x="a,b";q=0, application/jsonl;q=0.1`}, typeJSONL},
	}
	for _, tt := range tests {
		if got := streamType(tt.accept); got != tt.want {
			t.Errorf("streamType(%q) = %q, want %q", tt.accept, got, tt.want)
		}
	}
}

// FuzzStreamType checks what is asked for: the header names it, and what comes
// behind it with a weight that is not larger changes nothing.
func FuzzStreamType(f *testing.F) {
	for _, s := range []string{
		"text/event-stream", "*/*", "application/x-ndjson;q=0.5, text/event-stream;q=0.7", `a/b;x="\",",application/jsonl`,
		"text/event-stream;q=0", "text/event-stream;q=1.0;q=0", "application/ndjson;Q=0.3",
	} {
		f.Add(s)
	}
	known := []string{typeEvents, typeNDJSON, typeNDJSON2, typeJSONL}
	f.Fuzz(func(t *testing.T, accept string) {
		got := streamType([]string{accept})
		if got != "" && (!slices.Contains(known, got) || !strings.Contains(strings.ToLower(accept), got)) {
			t.Fatalf("streamType(%q) = %q, which it does not name", accept, got)
		}
		if got == "" {
			return
		}
		for _, kind := range known {
			if again := streamType([]string{accept, kind + ";q=0.001", kind + ";q=0", kind + ";q=x"}); again != got {
				t.Errorf("streamType(%q) = %q, with others behind it %q", accept, got, again)
			}
		}
	})
}

func TestCutReason(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"short":                   "short",
		strings.Repeat("x", 123):  strings.Repeat("x", 123),
		strings.Repeat("x", 124):  strings.Repeat("x", 123),
		strings.Repeat("é", 62):   strings.Repeat("é", 61),
		strings.Repeat("😀", 31):   strings.Repeat("😀", 30),
		"a\xff":                   "a\uFFFD",
		strings.Repeat("\xff", 9): "\uFFFD",
	} {
		if got := cutReason(text); got != want {
			t.Errorf("cutReason(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestFrameSize(t *testing.T) {
	for head, want := range map[string]int{
		"\x81\x00":         2,
		"\x82\x7d":         127,
		"\x82\x7e\x00\x7e": 130,
		"\x82\x7e\xff\xff": 65539,
		"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00": 65546,
	} {
		if got := frameSize([]byte(head)); got != want {
			t.Errorf("frameSize(%x) = %d, want %d", head, got, want)
		}
	}
}
