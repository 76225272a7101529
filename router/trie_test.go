package router

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestTrie puts claims into a trie and takes them out again, several at a time.
// Every older trie stays as it was, and nothing is left when all is taken out.
func TestTrie(t *testing.T) {
	texts := []string{
		"/", "/a", "/a/", "/a/b", "/a/*", "/*/b", "/**", "/a/**", "/a:v", "/a:w", "/a/**:v", "/a/*:v",
		"^/a/.*$", "^/a/b.*$", "^/a/bc$", "^.*$", "^/a/b/c$", "^/(a|b)$",
	}
	rapid.Check(t, func(t *rapid.T) {
		h := newHasher()
		var root *node
		want := map[string]*claim{}
		type version struct {
			root *node
			want map[string]*claim
		}
		var versions []version
		var edits []edit
		var era uint32
		for range rapid.IntRange(0, 40).Draw(t, "edits") {
			text := rapid.SampledFrom(texts).Draw(t, "text")
			method := rapid.SampledFrom([]string{"", "GET", "POST"}).Draw(t, "method")
			p := mustParse(t, text)
			var c *claim
			if rapid.Bool().Draw(t, "put") {
				c = &claim{pattern: *p, method: method}
				want[method+text] = c
			} else {
				delete(want, method+text)
			}
			edits = append(edits, edit{&claim{pattern: *p, method: method}, c})
			if rapid.IntRange(0, 2).Draw(t, "more") > 0 {
				continue
			}
			era++
			h.era = rapid.SampledFrom([]uint32{0, era}).Draw(t, "era")
			root = root.edit(h, edits, 0)
			edits = nil
			versions = append(versions, version{root, maps.Clone(want)})
		}
		for _, v := range versions {
			for _, text := range texts {
				for _, method := range []string{"", "GET", "POST"} {
					if got, _ := v.root.find(h, mustParse(t, text), method); got != v.want[method+text] {
						t.Fatalf("find(%s %s) = %v, want %v", method, text, got, v.want[method+text])
					}
				}
			}
			if (v.root == nil) != (len(v.want) == 0) {
				t.Fatalf("the trie of %d claims is %v", len(v.want), v.root)
			}
		}
	})
}

// TestPatternOrder: what stands in one place is ordered, however it came there.
func TestPatternOrder(t *testing.T) {
	h := newHasher()
	var root *node
	texts := []string{"/a/**", "/a/**:v", "/a/**:w"}
	for _, text := range texts {
		p := mustParse(t, text)
		c := &claim{pattern: *p}
		root = root.edit(h, []edit{{c, c}}, 0)
	}
	var got []string
	for _, c := range root.literals.find(h, "a").tail.rests {
		got = append(got, c.pattern.text)
	}
	slices.Reverse(texts)
	if !slices.Equal(got, texts) {
		t.Errorf("in order: %v, want %v", got, texts)
	}
}

func TestCutVerb(t *testing.T) {
	tests := []struct {
		path, before, verb string
		ok                 bool
	}{
		{"a", "a", "", false},
		{"a:v", "a", "v", true},
		{"a:b:v", "a:b", "v", true},
		{":v", "", "v", true},
		{"a:", "a:", "", false},
		{"a:v/b", "a:v/b", "", false},
		{"a/b:v", "a/b", "v", true},
		{"a%3Av", "a%3Av", "", false},
		{"", "", "", false},
	}
	for _, tt := range tests {
		before, verb, ok := cutVerb(tt.path)
		if before != tt.before || verb != tt.verb || ok != tt.ok {
			t.Errorf("cutVerb(%q) = %q, %q, %v, want %q, %q, %v", tt.path, before, verb, ok, tt.before, tt.verb, tt.ok)
		}
	}
}

func TestAmbiguous(t *testing.T) {
	tests := []struct {
		segment string
		want    string // part of the reason; "" is none
	}{
		{"", ""},
		{"a", ""},
		{"...", ""},
		{".a", ""},
		{"a..b", ""},
		{`a\b`, ""},
		{"a/b", ""},
		{"caf\u00e9", ""},
		{".", "segment"},
		{"..", "segment"},
		{"a/..", "segment"},
		{"../a", "segment"},
		{`..\a`, "segment"},
		{`a\.\b`, "segment"},
		{"a\x00", "control"},
		{"a\tb", "control"},
		{"\x7f", "control"},
	}
	for _, tt := range tests {
		if got := ambiguous(tt.segment); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("ambiguous(%q) = %q, want %q", tt.segment, got, tt.want)
		}
	}
}

func TestAnnouncedHost(t *testing.T) {
	tests := []struct{ announced, want string }{ // want "error" is an error
		{"*", ""},
		{"example.com", "example.com"},
		{"EXAMPLE.com.", "example.com"},
		{"example.com:8080", "example.com:8080"},
		{"Example.com.:8080", "example.com:8080"},
		{"example.com:", "example.com"},
		{"*.example.com", ".example.com"},
		{"*.Example.com:80", ".example.com:80"},
		{"10.0.0.1", "10.0.0.1"},
		{"[::1]:80", "[::1]:80"},
		{"my_service", "my_service"},
		{"*example.com", "error"},
		{"*.", "error"},
		{"a.*", "error"},
		{".example.com", "error"},
		{"^example$", "error"},
		{"a b", "error"},
		{"http://example.com", "error"},
		{"example.com:123456", "error"},
		{strings.Repeat("a", 300), "error"},
	}
	for _, tt := range tests {
		got, err := announcedHost(tt.announced)
		if err != nil {
			got = "error"
		}
		if got != tt.want {
			t.Errorf("announcedHost(%q) = %q, %v, want %q", tt.announced, got, err, tt.want)
		}
	}
}

// FuzzRequestHost checks that a host that is accepted is in a normal form.
func FuzzRequestHost(f *testing.F) {
	for _, seed := range []string{"example.com", "EXAMPLE.com.:80", "[::1]:80", "a@b", "[::1", "", ":", "a:b:c", "\u212a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := requestHost(s)
		if err != nil {
			if h != (host{}) {
				t.Fatalf("requestHost(%q) = %v, %v", s, h, err)
			}
			return
		}
		again, err := requestHost(h.full)
		if err != nil || again != h {
			t.Fatalf("requestHost(%q) = %v, which reads as %v, %v", s, h, again, err)
		}
		if h.full != strings.ToLower(h.full) || !strings.HasPrefix(h.full, h.name) || strings.ContainsAny(h.full, "@/ \x00") {
			t.Fatalf("requestHost(%q) = %v", s, h)
		}
	})
}

func TestPrintable(t *testing.T) {
	tests := []struct {
		s     string
		limit int
		want  string
	}{
		{"abc", 3, "abc"},
		{"abcd", 3, "abc…"},
		{"a\nb\x00c\x7f", 10, "a?b?c?"},
		{"caf\u00e9", 10, "caf\u00e9"},
		{"\u4e16\u754c", 4, "\u4e16…"},
		{"a\xffb", 10, "a?b"},
		{"a\u202eb", 10, "a?b"},
	}
	for _, tt := range tests {
		if got := printable(tt.s, tt.limit); got != tt.want {
			t.Errorf("printable(%q, %d) = %q, want %q", tt.s, tt.limit, got, tt.want)
		}
	}
}

func mustParse(t interface{ Fatal(args ...any) }, text string) *pattern {
	p, err := parsePattern(text)
	if err != nil {
		t.Fatal(fmt.Errorf("parsePattern(%q): %w", text, err))
	}
	return p
}
