package middleware_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware"
)

func TestCredentials(t *testing.T) {
	tests := []struct {
		name   string
		header []string
		want   string
		status int // of the error; 0 is none, -1 is ErrNoCredentials
	}{
		{"none", nil, "", -1},
		{"one", []string{"Bearer abc"}, "abc", 0},
		{"lower case", []string{"bearer abc"}, "abc", 0},
		{"upper case", []string{"BEARER abc"}, "abc", 0},
		{"many spaces", []string{"Bearer   abc"}, "abc", 0},
		{"another scheme", []string{"Basic abc"}, "", -1},
		{"a scheme that begins alike", []string{"Bearers abc"}, "", -1},
		{"a letter that folds into one", []string{"\u0042eare\u0280 abc"}, "", -1},
		{"empty", []string{""}, "", -1},
		{"scheme alone", []string{"Bearer"}, "", 401},
		{"scheme and spaces", []string{"Bearer  "}, "", 401},
		{"a tab for the space", []string{"Bearer\tabc"}, "", 401},
		{"a comma for the space", []string{"Bearer,abc"}, "", 401},
		{"a colon for the space", []string{"Bearer:abc"}, "", 401},
		{"two headers", []string{"Bearer abc", "Bearer abc"}, "", 400},
		{"two headers, of two schemes", []string{"Basic abc", "Bearer abc"}, "", 400},
		{"a list is one", []string{"Bearer abc, Basic def"}, "abc, Basic def", 0}, // which no token and no password is
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{}}
			if tt.header != nil {
				r.Header["Authorization"] = tt.header
			}
			got, err := middleware.Credentials(r, "Bearer")
			status := 0
			var e *goapi.Error
			switch {
			case errors.Is(err, middleware.ErrNoCredentials):
				status = -1
			case errors.As(err, &e):
				status = e.Code
			}
			if got != tt.want || status != tt.status {
				t.Errorf("Credentials(%q) = %q, %v; want %q and status %d", tt.header, got, err, tt.want, tt.status)
			}
		})
	}
}

func TestRemoveCredentials(t *testing.T) {
	tests := []struct {
		name, header string
		want         bool
	}{
		{"of the scheme", "bearer abc", true},
		{"malformed", "Bearer\tabc", true},
		{"of another scheme", "Basic abc", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{"Authorization": {tt.header}}}
			middleware.RemoveCredentials(r, "Bearer")
			if got := r.Header["Authorization"] == nil; got != tt.want {
				t.Errorf("RemoveCredentials(%q): removed = %t, want %t", tt.header, got, tt.want)
			}
		})
	}
}

func TestQuote(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain", `"plain"`},
		{`a "b" \c`, `"a \"b\" \\c"`},
		{"a\r\nSet-Cookie: x", `"a??Set-Cookie: x"`},
		{"é", `"??"`},
		{"", `""`},
	}
	for _, tt := range tests {
		if got := middleware.Quote(tt.in); got != tt.want {
			t.Errorf("Quote(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

// FuzzCredentials holds Credentials to a lenient reader, such as a service may
// be: what it says is none is none there, too.
func FuzzCredentials(f *testing.F) {
	for _, seed := range []string{"Bearer abc", "bearer  abc", "Bearer\tabc", "Bearer", "Basic abc", "Bearerabc", "\x0bBearer abc", "Bearer\u00a0abc"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		value = strings.Trim(value, " \t") // as the server does
		if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return // the server refuses it
		}
		r := &http.Request{Header: http.Header{"Authorization": {value}}}
		got, err := middleware.Credentials(r, "Bearer")
		words := strings.Fields(value)
		lenient := len(words) > 0 && strings.EqualFold(words[0], "Bearer")
		if errors.Is(err, middleware.ErrNoCredentials) && lenient {
			t.Errorf("Credentials(%q) finds none, a lenient reader does", value)
		}
		if err == nil && (got == "" || !strings.HasSuffix(value, got) || !lenient) {
			t.Errorf("Credentials(%q) = %q, which a lenient reader does not find", value, got)
		}
		middleware.RemoveCredentials(r, "Bearer")
		if gone := r.Header["Authorization"] == nil; gone == errors.Is(err, middleware.ErrNoCredentials) {
			t.Errorf("RemoveCredentials(%q): removed = %t; Credentials = %v", value, gone, err)
		}
	})
}
