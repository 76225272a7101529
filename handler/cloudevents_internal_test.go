package handler

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzHeaderValue encodes any text for a header: it is printable ASCII, and is
// decoded to the same.
func FuzzHeaderValue(f *testing.F) {
	for _, seed := range []string{"", "a b", `"quoted"`, "100%", "%41", "€ 😀", "\x00\n", "\xff", `\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		encoded := encodeValue(text)
		for i := range len(encoded) {
			if c := encoded[i]; c <= ' ' || c > '~' || c == '"' {
				t.Fatalf("encodeValue(%q) = %q, with %q in it", text, encoded, c)
			}
		}
		got, ok := decodeValue(encoded)
		if ok != utf8.ValidString(text) || ok && got != text {
			t.Fatalf("decodeValue(%q) = %q, %t, want %q", encoded, got, ok, text)
		}
		if got, ok := decodeValue(text); ok && !utf8.ValidString(got) {
			t.Fatalf("decodeValue(%q) = %q, which is not UTF-8", text, got)
		}
	})
}

// FuzzReadMembers reads objects as the standard library does.
func FuzzReadMembers(f *testing.F) {
	for _, seed := range []string{`{}`, ` { "a" : 1 , "b":"x\\\"}","c":[{},"]",[1,2]] } `, `{"a":-1e5}`, `{"a":{"b":{}}}`, `{"\u0061":true,"":null}`, `[]`, `7`, `{"a":"\\"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !isJSON(raw) {
			return
		}
		got, plain, err := readMembers(raw)
		var want map[string]json.RawMessage
		if json.Unmarshal(raw, &want) != nil || want == nil {
			if err == nil {
				t.Fatalf("readMembers(%q) = %q, want an error: it is no object", raw, got)
			}
			return
		}
		if err != nil { // one is there twice, or its name is no text
			return
		}
		if escaped := bytes.IndexByte(raw, '\\') >= 0; !plain && !escaped {
			t.Fatalf("readMembers(%q) has names that are not plain", raw)
		}
		if len(got) != len(want) {
			t.Fatalf("readMembers(%q) = %q, want %q", raw, got, want)
		}
		for name, value := range want {
			if !bytes.Equal(got[name], value) {
				t.Fatalf("readMembers(%q)[%q] = %q, want %q", raw, name, got[name], value)
			}
		}
	})
}
