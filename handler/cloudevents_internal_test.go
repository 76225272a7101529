package handler

import (
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
