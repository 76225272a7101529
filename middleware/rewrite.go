package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
)

// maxRewritten is the length of the longest path that may come out.
const maxRewritten = 64 << 10

// RewriteOptions say how the path of a request is changed: StripPrefix is taken
// off, then Regexp is replaced, then AddPrefix is put before.
type RewriteOptions struct {
	// StripPrefix is compared segment by segment, as a router does. A path
	// that does not start with it stays as it is. Default: none.
	StripPrefix string
	// Regexp is replaced by Replacement wherever it matches; $1 or ${name} is
	// what a group matched. Default: none.
	Regexp, Replacement string
	// AddPrefix is one or more segments. Default: none.
	AddPrefix string
}

// Rewrite returns a middleware that changes the path of requests. The query
// stays as it is, and the router has done its work before.
//
// It works on the path as it was received, with its escapes, so that an escaped
// slash stays data. A client can also escape what need not be: Regexp is not
// what access may depend on. What comes out is held to what a router takes: a
// path that is well escaped, with no segment "." or "..", no control
// character, and nothing that could be read as a host or a query. Otherwise the
// request is refused with 400.
func Rewrite(opts *RewriteOptions) (func(http.Handler) http.Handler, error) {
	rw, err := newRewriting(opts)
	if err != nil {
		return nil, err
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			out, err := rw.rewrite(r)
			if err != nil {
				goapi.WriteError(w, r, err)
				return
			}
			next.ServeHTTP(w, out)
		})
	}, nil
}

// rewriting is how paths are changed.
type rewriting struct {
	strip       []string // segments
	expression  *regexp.Regexp
	replacement string
	add         string
}

func newRewriting(opts *RewriteOptions) (*rewriting, error) {
	if opts == nil || *opts == (RewriteOptions{}) {
		return nil, errors.New("rewrite: nothing is to be changed: write a prefix to strip or to add, or an expression")
	}
	rw := &rewriting{replacement: opts.Replacement}
	for _, p := range []struct{ what, prefix string }{{"strip", opts.StripPrefix}, {"add", opts.AddPrefix}} {
		if p.prefix == "" {
			continue
		}
		if strings.Trim(p.prefix, "/") == "" || checkPath(p.prefix) != "" {
			return nil, fmt.Errorf("rewrite: the prefix to %s is %.100q: write a path that is well escaped, such as /v1", p.what, p.prefix)
		}
	}
	if prefix := strings.Trim(opts.StripPrefix, "/"); prefix != "" {
		for segment := range strings.SplitSeq(prefix, "/") {
			plain, _ := url.PathUnescape(segment) // checked
			rw.strip = append(rw.strip, plain)
		}
	}
	rw.add = strings.TrimRight(opts.AddPrefix, "/")
	if opts.Regexp == "" {
		if opts.Replacement != "" {
			return nil, errors.New("rewrite: a replacement needs an expression that is replaced")
		}
		return rw, nil
	}
	var err error
	if rw.expression, err = regexp.Compile(opts.Regexp); err != nil {
		return nil, fmt.Errorf("rewrite: the expression %.100q is none: %w", opts.Regexp, err)
	}
	return rw, checkReplacement(opts.Replacement, rw.expression)
}

// checkReplacement returns what is wrong with a replacement: an expression
// takes what names no group for nothing.
func checkReplacement(replacement string, e *regexp.Regexp) error {
	if i := strings.IndexFunc(replacement, func(c rune) bool { return c <= ' ' || c > '~' || c == '?' || c == '#' }); i >= 0 {
		return fmt.Errorf("rewrite: the replacement %.100q holds what a path cannot hold unescaped: write it as %%%02X", replacement, replacement[i])
	}
	for rest := replacement; ; {
		_, after, found := strings.Cut(rest, "$")
		if !found {
			return nil
		}
		if rest, found = strings.CutPrefix(after, "$"); found {
			continue
		}
		var name string
		if name, rest = cutGroup(after); !isGroup(name, e) {
			return fmt.Errorf("rewrite: in the replacement %.100q, %q names no group of the expression: write $1, ${1} or ${name}; $$ is $", replacement, "$"+name)
		}
	}
}

// cutGroup returns the name that follows a dollar, as package regexp has it, and
// what is behind. There is none if it is empty.
func cutGroup(s string) (name, rest string) {
	if braced, ok := strings.CutPrefix(s, "{"); ok {
		if name, rest, ok = strings.Cut(braced, "}"); !ok {
			return "", ""
		}
		return name, rest
	}
	end := strings.IndexFunc(s, func(c rune) bool {
		return c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:]
}

// isGroup says that an expression has a group of that number or name.
func isGroup(name string, e *regexp.Regexp) bool {
	if name == "" {
		return false
	}
	for i := range e.NumSubexp() + 1 {
		if name == fmt.Sprint(i) {
			return true
		}
	}
	return slices.Contains(e.SubexpNames(), name)
}

// rewrite returns r with another path; or r itself, if that stays as it is.
func (rw *rewriting) rewrite(r *http.Request) (*http.Request, error) {
	received := receivedPath(r.URL)
	path := rw.stripped(received)
	if rw.expression != nil {
		path = rw.expression.ReplaceAllString(path, rw.replacement)
	}
	if path == "/" && rw.add != "" {
		path = rw.add
	} else {
		path = rw.add + path
	}
	if path == received {
		return r, nil
	}
	if reason := checkPath(path); reason != "" {
		return nil, goapi.NewError(http.StatusBadRequest, "the path cannot be rewritten: "+reason, nil)
	}
	u := *r.URL
	u.RawPath = path
	u.Path, _ = url.PathUnescape(path) // checked
	out := *r
	out.URL = &u
	return &out, nil
}

// stripped returns path without the prefix.
func (rw *rewriting) stripped(path string) string {
	rest := path
	for _, want := range rw.strip {
		segment, ok := strings.CutPrefix(rest, "/")
		if !ok {
			return path
		}
		end := strings.IndexByte(segment, '/')
		if end < 0 {
			end = len(segment)
		}
		if got, err := url.PathUnescape(segment[:end]); err != nil || got != want {
			return path
		}
		rest = segment[end:]
	}
	if rest == "" {
		return "/"
	}
	return rest
}

// receivedPath returns the path of u as it was received, or was given by
// whoever rewrote it. EscapedPath would escape anew where that has bytes that
// it does not expect, and make separators of escaped slashes.
func receivedPath(u *url.URL) string {
	if u.RawPath != "" {
		if path, err := url.PathUnescape(u.RawPath); err == nil && path == u.Path {
			return strings.ReplaceAll(u.RawPath, "#", "%23") // as it is forwarded
		}
	}
	return u.EscapedPath()
}

// checkPath says what a router would refuse in an escaped path, or nothing.
func checkPath(path string) (reason string) {
	switch {
	case !strings.HasPrefix(path, "/"):
		return "it would not start with /"
	case strings.HasPrefix(path, "//") || strings.HasPrefix(path, `/\`):
		return "it would start with a host"
	case len(path) > maxRewritten:
		return "it would be too long"
	case strings.ContainsAny(path, "?# "):
		return "it would hold more than a path"
	}
	for raw := range strings.SplitSeq(path[1:], "/") {
		segment, err := url.PathUnescape(raw)
		if err != nil {
			return "it would not be well escaped"
		}
		if strings.IndexFunc(segment, func(c rune) bool { return c < ' ' || c == 0x7f }) >= 0 {
			return "it would have a control character"
		}
		for part := range strings.FieldsFuncSeq(segment, func(c rune) bool { return c == '/' || c == '\\' }) {
			if part == "." || part == ".." {
				return `it would have a segment "." or ".."`
			}
		}
	}
	return ""
}
