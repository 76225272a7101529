package router

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestParsePattern(t *testing.T) {
	tests := []struct {
		text, want string // want is the pattern's String
	}{
		{"/", "/"},
		{"/a", "/a"},
		{"/a/", "/a/"},
		{"//a", "//a"},
		{"/a/b.json", "/a/b.json"},
		{"/a/{name}", "/a/{name=*}"},
		{"/a/{name=*}/b", "/a/{name=*}/b"},
		{"/a/{x=b/*}", "/a/{x=b/*}"},
		{"/a/{x=b/*/c}/{y}", "/a/{x=b/*/c}/{y=*}"},
		{"/a/{x=**}", "/a/{x=**}"},
		{"/{x=a/**}:v", "/{x=a/**}:v"},
		{"/*/b", "/*/b"},
		{"/a/**", "/a/**"},
		{"/a/**:undelete", "/a/**:undelete"},
		{"/a/{book.author.name}", "/a/{book.author.name=*}"},
		{"/a:search", "/a:search"},
		{"/a/{id}:cancel", "/a/{id=*}:cancel"},
		{"/a/*:cancel", "/a/*:cancel"},
		{"/urn:isbn/{id}", "/urn%3Aisbn/{id=*}"},
		{"/a:b:c", "/a%3Ab:c"},
		{"/a%20b", "/a%20b"},
		{"/a%2Fb", "/a%2Fb"},
		{"/caf\u00e9", "/caf%C3%A9"},
		{"/a%3Ab", "/a%3Ab"},
		{"/a%2A", "/a%2A"},
		{"/a/~b,c;d=e&f!g'h@i", "/a/~b%2Cc%3Bd=e&f%21g%27h@i"},
		{"^/a/.*$", "^/a/.*$"},
		{"^/a|/b$", "^/a|/b$"},
	}
	for _, tt := range tests {
		p, err := parsePattern(tt.text)
		if err != nil {
			t.Errorf("parsePattern(%q) error = %v", tt.text, err)
			continue
		}
		if got := p.String(); got != tt.want {
			t.Errorf("parsePattern(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestParsePatternErrors(t *testing.T) {
	tests := []struct {
		name, text, want string // want is part of the error
	}{
		{"empty", "", `does not start with "/"`},
		{"no slash", "a/b", `does not start with "/"`},
		{"half expression at the start", "^/a", `does not end with "$"`},
		{"half expression at the end", "/a$", `does not start with "^"`},
		{"open variable", "/a/{b", `has no "}"`},
		{"nested variable", "/a/{b={c}}", "must be a whole segment"},
		{"no name", "/a/{}", "not the name of a variable"},
		{"bad name", "/a/{b-c}", "not the name of a variable"},
		{"name with a digit first", "/a/{1b}", "not the name of a variable"},
		{"name with an empty part", "/a/{b..c}", "not the name of a variable"},
		{"no segments", "/a/{b=}", `nothing follows the "="`},
		{"same variable twice", "/{a}/{a}", `two variables "a"`},
		{"text before a variable", "/a{b}", "must be a whole segment"},
		{"text after a variable", "/{a}b", "must be a whole segment"},
		{"close without open", "/a}", "must be a whole segment"},
		{"rest in the middle", "/**/a", "must be the last"},
		{"rest in a variable in the middle", "/{x=**}/a", "must be the last"},
		{"rest in the middle of a variable", "/{x=**/a}", "must be the last"},
		{"star within a segment", "/a*", "whole segment"},
		{"three stars", "/***", "whole segment"},
		{"empty verb", "/a:", "nothing follows"},
		{"empty verb of a variable", "/{a}:", "nothing follows"},
		{"variable as of other routers", "/users/:id", "written {id}"},
		{"variable as of other routers, in the middle", "/users/:id/x", "written {id}"},
		{"expression without anchors", "/a/[0-9]+", `written "^/a/[0-9]+$"`},
		{"group", "/(a|b)", "written"},
		{"dot star", "/a/.*", "whole segment"},
		{"question mark", "/a?b=c", "regular expression"},
		{"backslash", `/a\d`, "regular expression"},
		{"space", "/a b", "no path has"},
		{"fragment", "/a#b", "no path has"},
		{"control", "/a\x01", "no path has"},
		{"escaped control", "/a%00", "control character"},
		{"bad escape", "/a%zz", "not well escaped"},
		{"not UTF-8", "/a%ff", "not well escaped"},
		{"dot", "/a/./b", "matches no request"},
		{"dot dot", "/a/../b", "matches no request"},
		{"escaped dot dot", "/a/%2e%2E/b", "matches no request"},
		{"hidden dot dot", "/a/b%2F..%2Fc", "matches no request"},
		{"too long", "/" + strings.Repeat("a", maxPattern), "longer than"},
		{"too many segments", strings.Repeat("/a", maxSegments+1), "more than 64 segments"},
		{"too many variables", manyVariables(maxVariables + 1), "more than 32 variables"},
		{"bad expression", "^/a($", "regular expression"},
		{"lookahead", "^/a(?=b)$", "not one of RE2"},
		{"huge expression", "^/(((a{100}){100}){10})$", "regular expression"},
		{"large expression", "^/a{900}b{900}c{900}$", "too large"},
		{"many classes", "^/" + strings.Repeat(`\pL`, 600) + "$", "too large"},
		{"too many groups", "^/" + "(?P<a1>x)" + manyGroups(maxVariables) + "$", "named groups"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := parsePattern(tt.text)
			if err == nil {
				t.Fatalf("parsePattern(%q) = %v, want an error", tt.text, p)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("parsePattern(%q) error = %q, want %q in it", tt.text, err, tt.want)
			}
			if len(err.Error()) > 300 {
				t.Errorf("parsePattern(%.40q) error is %d bytes long", tt.text, len(err.Error()))
			}
		})
	}
}

func TestExpressionStart(t *testing.T) {
	tests := []struct {
		text, prefix string
		segments     string // joined by "|"
	}{
		{"^/a/b$", "/a/b", "a"},
		{"^/a/b/.*$", "/a/b/", "a|b"},
		{"^/a/b.*$", "/a/b", "a"},
		{"^/a%20b/.*$", "/a%20b/", "a b"},
		{"^/a%zz/.*$", "/a%zz/", ""},
		{"^.*$", "", ""},
		{"^a|/b$", "", ""},
		{"^(?i)/a/b$", "", ""},
		{"^/a/(?i)b/c$", "/a/", "a"},
		{"^/a//(b|c)$", "/a//", "a|"},
		{"^/a/(b)/c$", "/a/", "a"},
		{`^/a\.b/c$`, "/a.b/c", "a.b"},
	}
	for _, tt := range tests {
		p, err := parsePattern(tt.text)
		if err != nil {
			t.Errorf("parsePattern(%q) error = %v", tt.text, err)
			continue
		}
		var segments []string
		for _, s := range p.segments {
			segments = append(segments, s.text)
		}
		if p.expr.prefix != tt.prefix || strings.Join(segments, "|") != tt.segments {
			t.Errorf("parsePattern(%q) starts with %q, segments %q, want %q, %q",
				tt.text, p.expr.prefix, segments, tt.prefix, tt.segments)
		}
	}
}

// FuzzPattern checks that a pattern's String means the same as the pattern, and
// that a path made after a template matches it and gives its variables.
func FuzzPattern(f *testing.F) {
	for _, seed := range []string{
		"/", "/a/{name}", "/a/{x=b/*}/c", "/{x=a/**}:v", "/a:search", "/*/**", "//", "/a%2Fb/{c.d}", "^/a/.*$", "^/(?P<id>[0-9]+)$",
		"/urn:a/b:c", "/a%3Ab", "/caf\u00e9/{x}", "/a$", "/{a}{b}", "/users/:id", "/{a=*}/{b=*/c/*}:d",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePattern(text)
		if err != nil {
			if p != nil {
				t.Fatalf("parsePattern(%q) = %v, %v: want one", text, p, err)
			}
			return
		}
		again, err := parsePattern(p.String())
		if err != nil {
			t.Fatalf("parsePattern(%q), which is %q, error = %v", p.String(), text, err)
		}
		if again.shape() != p.shape() || again.String() != p.String() {
			t.Fatalf("parsePattern(%q) = %q, which is parsed as %q", text, p, again)
		}
		if p.expr == nil {
			checkTemplate(t, p)
		}
	})
}

// checkTemplate routes a path made after a template.
func checkTemplate(t *testing.T, p *pattern) {
	t.Helper()
	path, want := "", make([]string, len(p.variables))
	for i, s := range p.segments {
		raw, text := "value%25"+string(rune('a'+i%26)), "value%"+string(rune('a'+i%26))
		switch s.kind {
		case literal:
			raw, text = escapeLiteral(s.text), s.text
		case rest:
			raw, text = raw+"//x%2Fy", text+"//x/y"
		case one:
		}
		path += "/" + raw
		for j, v := range p.variables {
			switch {
			case v.start == i:
				want[j] = text
			case v.start < i && i < v.end:
				want[j] += "/" + text
			}
		}
	}
	if p.verb != "" {
		path += ":" + escapeLiteral(p.verb)
	}
	table := NewTable(nil, nil)
	c := &claim{pattern: *p}
	table.edit(table.hasher, []edit{{c, c}})
	s := search{table: table, path: path}
	if got := s.claim(host{}); got != c {
		t.Fatalf("template %q, as %q, does not match %q", p.text, p, path)
	}
	r := &http.Request{URL: &url.URL{}}
	p.setVariables(r, path)
	for j, v := range p.variables {
		if got := r.PathValue(v.name); got != want[j] {
			t.Fatalf("template %q, path %q: variable %s = %q, want %q", p.text, path, v.name, got, want[j])
		}
	}
	table.edit(table.hasher, []edit{{c, nil}})
	if table.anyHost != nil {
		t.Fatalf("template %q is not all gone when it is taken away", p.text)
	}
}

func manyVariables(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("/{a" + strings.Repeat("b", i) + "}")
	}
	return b.String()
}

func manyGroups(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("(?P<b" + strings.Repeat("b", i) + ">x)")
	}
	return b.String()
}
