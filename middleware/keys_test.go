package middleware_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware"
)

func TestNewKeys(t *testing.T) {
	hash := middleware.HashKey("a key of sixteen bytes")
	tests := []struct {
		name, file string
		want       string // in the error; empty is none
	}{
		{"one", "alice " + hash, ""},
		{"scopes, comments and empty lines", "# keys\n\n  alice\t" + hash + "  read write \r\n", ""},
		{"upper case digits", "alice sha256:" + strings.ToUpper(strings.TrimPrefix(hash, "sha256:")), ""},
		{"none", "", "there are no keys: write a line"},
		{"comments alone", "# alice\n\n", "there are no keys: write a line"},
		{"no hash", "alice", "line 1: want an owner"},
		{"a key in the clear", "# x\nalice goapi_secretsecret", "line 2: the key of alice is no hash"},
		{"another hash", "alice md5:" + strings.Repeat("0", 64), "line 1: the key of alice is no hash"},
		{"too short", "alice " + hash[:len(hash)-2], "line 1: the key of alice is no hash"},
		{"too long", "alice " + hash + "00", "line 1: the key of alice is no hash"},
		{"no digits", "alice sha256:" + strings.Repeat("x", 64), "line 1: the key of alice is no hash"},
		{"twice", "alice " + hash + "\nbob " + hash, "line 2: the key of bob is there already"},
		{"a control character", "alice\x00 " + hash, "line 1: has a control character"},
		{"a long line", "alice " + strings.Repeat("x", 5000), "line 1: is longer than 4096 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := middleware.NewKeys(strings.NewReader(tt.file), nil)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("NewKeys error = %v, want %q", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "secretsecret") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("NewKeys error = %v: shows the key, or has several lines", err)
			}
		})
	}
}

func TestNewKeysCannotRead(t *testing.T) {
	broken := errors.New("disk on fire")
	if _, err := middleware.NewKeys(io.MultiReader(strings.NewReader("# keys\n"), iotest.ErrReader(broken)), nil); !errors.Is(err, broken) {
		t.Errorf("NewKeys error = %v, want %v", err, broken)
	}
}

func TestKeysOptions(t *testing.T) {
	tests := []struct {
		name string
		opts middleware.KeysOptions
		want string
	}{
		{"no name", middleware.KeysOptions{Header: "X Key"}, "no name of a header"},
		{"Authorization", middleware.KeysOptions{Header: "authorization"}, "is always understood"},
		{"Cookie", middleware.KeysOptions{Header: "Cookie"}, "holds more than a key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := middleware.NewKeys(strings.NewReader(""), &tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("NewKeys error = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	key, other := middleware.NewKey(), middleware.NewKey()
	file := fmt.Sprintf("alice %s read write\nbob %s", middleware.HashKey(key), middleware.HashKey(other))
	own := &middleware.KeysOptions{Header: "X-Token", Query: "api key", Realm: `a "b"`}
	tests := []struct {
		name    string
		opts    *middleware.KeysOptions
		target  string
		header  http.Header
		subject string
		status  int // of the error; -1 is ErrNoCredentials
	}{
		{"none", nil, "/", nil, "", -1},
		{"header", nil, "/", http.Header{"X-Api-Key": {key}}, "alice", 0},
		{"the other's", nil, "/", http.Header{"X-Api-Key": {other}}, "bob", 0},
		{"Authorization", nil, "/", http.Header{"Authorization": {"apikey " + key}}, "alice", 0},
		{"another scheme", nil, "/", http.Header{"Authorization": {"Bearer " + key}}, "", -1},
		{"not known", nil, "/", http.Header{"X-Api-Key": {middleware.NewKey()}}, "", 401},
		{"empty", nil, "/", http.Header{"X-Api-Key": {""}}, "", 401},
		{"its hash", nil, "/", http.Header{"X-Api-Key": {middleware.HashKey(key)}}, "", 401},
		{"a part", nil, "/", http.Header{"X-Api-Key": {key[:len(key)-1]}}, "", 401},
		{"more", nil, "/", http.Header{"X-Api-Key": {key + "A"}}, "", 401},
		{"huge", nil, "/", http.Header{"X-Api-Key": {strings.Repeat("A", 1<<16)}}, "", 401},
		{"a list", nil, "/", http.Header{"X-Api-Key": {key + "," + key}}, "", 401},
		{"two", nil, "/", http.Header{"X-Api-Key": {key, key}}, "", 400},
		{"two kinds", nil, "/", http.Header{"X-Api-Key": {key}, "Authorization": {"ApiKey " + key}}, "", 400},
		{"the query is not asked for", nil, "/?x-api-key=" + key, nil, "", -1},
		{"own header", own, "/", http.Header{"X-Token": {key}}, "alice", 0},
		{"not the own header", own, "/", http.Header{"X-Api-Key": {key}}, "", -1},
		{"query", own, "/?a=1&api+key=" + key, nil, "alice", 0},
		{"query, written in another way", own, "/?%61pi%20key=" + strings.Replace(key, "g", "%67", 1), nil, "alice", 0},
		{"query, twice", own, "/?api+key=" + key + "&api+key=x", nil, "", 400},
		{"query and header", own, "/?api+key=" + key, http.Header{"X-Token": {key}}, "", 400},
		{"query, not known", own, "/?api+key=%zz0123456789abcdef", nil, "", 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := mustKeys(t, file, tt.opts)
			r := httptest.NewRequest("GET", "/", nil)
			r.URL.RawQuery = strings.TrimPrefix(strings.TrimPrefix(tt.target, "/"), "?")
			r.Header = tt.header
			id, err := k.Authenticate(r)
			checkIdentity(t, id, err, tt.subject, tt.status)
			if id != nil && id.Method != "key" {
				t.Errorf("method = %q, want key", id.Method)
			}
		})
	}
	if got, want := mustKeys(t, file, own).Challenge(), `ApiKey realm="a \"b\""`; got != want {
		t.Errorf("Challenge() = %s, want %s", got, want)
	}
	if id, _ := mustKeys(t, file, nil).Authenticate(&http.Request{Header: http.Header{"X-Api-Key": {key}}}); !slices.Equal(id.Scopes, []string{"read", "write"}) {
		t.Errorf("scopes = %q, want read and write", id.Scopes)
	}
}

// TestKeysCleanTheQuery has a key that must not reach the service, and all else
// that must, byte by byte.
func TestKeysCleanTheQuery(t *testing.T) {
	key := middleware.NewKey()
	k := mustKeys(t, "alice "+middleware.HashKey(key), &middleware.KeysOptions{Query: "key"})
	tests := []struct{ in, want string }{
		{"/a?key=" + key, "/a"},
		{"/a%2Fb?x=%20+1&key=" + key + "&y;z", "/a%2Fb?x=%20+1&y;z"},
		{"/a?%6Bey=" + key + "&x", "/a?x"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			var got, uri string
			h := authAround(t, []middleware.Authenticator{k}, nil, func(r *http.Request) { got, uri = r.URL.RequestURI(), r.RequestURI })
			r := httptest.NewRequest("GET", tt.in, nil)
			h.ServeHTTP(httptest.NewRecorder(), r)
			if got != tt.want || uri != tt.want {
				t.Errorf("service sees %q and %q, want %q", got, uri, tt.want)
			}
			if r.URL.RequestURI() != tt.in {
				t.Errorf("the request of the outer ring has changed: %s", r.URL)
			}
		})
	}
}

func TestNewKeyIsNewAndLong(t *testing.T) {
	a, b := middleware.NewKey(), middleware.NewKey()
	if a == b || len(a) != len("goapi_")+43 || !strings.HasPrefix(a, "goapi_") {
		t.Errorf("NewKey() = %q, %q", a, b)
	}
	if got, want := middleware.HashKey("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; got != want {
		t.Errorf("HashKey(abc) = %s, want %s", got, want)
	}
}

// FuzzNewKeys: what is read can be used, and errors never show what may be a
// key.
func FuzzNewKeys(f *testing.F) {
	f.Add("alice " + middleware.HashKey("0123456789abcdef") + " read\n# x\n\nbob sha256:00")
	f.Add("alice goapi_SECRET\r\n")
	f.Fuzz(func(t *testing.T, file string) {
		k, err := middleware.NewKeys(strings.NewReader(file), nil)
		if (k == nil) == (err == nil) {
			t.Fatalf("NewKeys = %v, %v: want exactly one", k, err)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\r\x00") {
			t.Fatalf("NewKeys error = %q: want one line", err)
		}
		if err != nil && strings.Contains(err.Error(), "SECRET") && !strings.Contains(strings.Fields(file)[0], "SECRET") && strings.Count(file, "\n") < 2 {
			t.Fatalf("NewKeys error = %q: shows the key", err)
		}
	})
}

// checkIdentity compares what an Authenticator says with what it is to say.
func checkIdentity(t *testing.T, id *goapi.Identity, err error, subject string, status int) {
	t.Helper()
	got, code := "", 0
	if id != nil {
		got = id.Subject
	}
	var e *goapi.Error
	switch {
	case errors.Is(err, middleware.ErrNoCredentials):
		code = -1
	case errors.As(err, &e):
		code = e.Code
	case err != nil:
		code = 500
	}
	if got != subject || code != status {
		t.Errorf("Authenticate = %q, %v; want %q and status %d", got, err, subject, status)
	}
}

func BenchmarkKeys(b *testing.B) {
	key := middleware.NewKey()
	k := mustKeys(b, "alice "+middleware.HashKey(key), nil)
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Api-Key", key)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Authenticate(r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAuth guards what an identity costs a request besides its
// verification.
func BenchmarkAuth(b *testing.B) {
	key := middleware.NewKey()
	wrap, err := middleware.Auth([]middleware.Authenticator{mustKeys(b, "alice "+middleware.HashKey(key), nil)},
		&middleware.AuthOptions{Headers: map[string]string{"X-User": "subject"}})
	if err != nil {
		b.Fatal(err)
	}
	h := wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = http.Header{
		"X-Api-Key": {key}, "Accept": {"*/*"}, "Accept-Encoding": {"gzip"}, "User-Agent": {"x"}, "Content-Type": {"application/json"},
		"Accept-Language": {"en"}, "X-Request-Id": {"1"},
	}
	r, _ = withExchange(r)
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

func ExampleAuth() {
	keys, err := middleware.NewKeys(strings.NewReader("alice "+middleware.HashKey("a key that nobody guesses")+" read"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	protect, err := middleware.Auth([]middleware.Authenticator{keys}, &middleware.AuthOptions{
		Scopes:  []string{"read"},
		Headers: map[string]string{"X-User": "subject"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s", r.Header.Get("X-User"))
	}))
	for _, key := range []string{"a key that nobody guesses", "a guess", ""} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("X-User", "root")
		if key != "" {
			r.Header.Set("X-Api-Key", key)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"), strings.TrimSpace(w.Body.String()))
	}
	// Output:
	// 200  hello alice
	// 401 ApiKey realm="goapi" {"id":"goapi","code":401,"detail":"the API key is not known","status":"Unauthorized"}
	// 401 ApiKey realm="goapi" {"id":"goapi","code":401,"detail":"the request carries no credentials: WWW-Authenticate says which are taken","status":"Unauthorized"}
}
