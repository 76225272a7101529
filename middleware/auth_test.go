package middleware_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/upstream"
)

// stub knows callers by a scheme of Authorization, whose credentials are the
// subject, a comma and the scopes.
type stub struct {
	scheme, challenge string
	err               error // for all that have the scheme
	id                *goapi.Identity
}

func (s *stub) Challenge() string { return s.challenge }

func (s *stub) Clean(r *http.Request) { middleware.RemoveCredentials(r, s.scheme) }

func (s *stub) Authenticate(r *http.Request) (*goapi.Identity, error) {
	text, err := middleware.Credentials(r, s.scheme)
	if err != nil {
		return nil, err
	}
	if s.err != nil || s.id != nil {
		return s.id, s.err
	}
	subject, scopes, _ := strings.Cut(text, ",")
	return &goapi.Identity{Subject: subject, Method: strings.ToLower(s.scheme), Scopes: strings.Fields(scopes)}, nil
}

// silent says that all is well, and not who it is.
type silent struct{}

func (silent) Challenge() string                                   { return "" }
func (silent) Authenticate(*http.Request) (*goapi.Identity, error) { return nil, nil } //nolint:nilnil // that is the mistake

func TestAuthDecides(t *testing.T) {
	a := &stub{scheme: "A", challenge: `A realm="a"`}
	b := &stub{scheme: "B", challenge: `B realm="b"`}
	bad := &stub{scheme: "A", challenge: `A realm="a"`, err: errors.New("a secret reason")}
	foreign := &stub{scheme: "A", challenge: `A realm="a"`, err: fmt.Errorf("it is not ours: %w", middleware.ErrForeign)}
	away := &stub{scheme: "A", err: goapi.NewError(503, "no keys", nil)}
	gone := &stub{scheme: "A", err: context.Canceled}
	own := &stub{scheme: "A", challenge: `A realm="a"`, err: &goapi.Error{Code: 401, Header: http.Header{"Www-Authenticate": {"A own"}}}}
	bare := &stub{scheme: "A"}
	tests := []struct {
		name       string
		any        []middleware.Authenticator
		optional   bool
		header     string
		want       int
		subject    string
		challenges []string
	}{
		{"valid", []middleware.Authenticator{a, b}, false, "A alice", 200, "alice", nil},
		{"valid for the second", []middleware.Authenticator{a, b}, false, "B bob", 200, "bob", nil},
		{"none", []middleware.Authenticator{a, b}, false, "", 401, "", []string{`A realm="a"`, `B realm="b"`}},
		{"of no kind", []middleware.Authenticator{a, b}, false, "C carol", 401, "", []string{`A realm="a"`, `B realm="b"`}},
		{"none, and no challenge", []middleware.Authenticator{bare}, false, "", 403, "", nil},
		{"not valid", []middleware.Authenticator{bad, a}, false, "A alice", 401, "", []string{`A realm="a"`}},
		{"malformed", []middleware.Authenticator{a}, false, "A", 401, "", []string{`A realm="a"`}},
		{"optional, valid", []middleware.Authenticator{a}, true, "A alice", 200, "alice", nil},
		{"optional, none", []middleware.Authenticator{a}, true, "", 200, "", nil},
		{"optional, not valid", []middleware.Authenticator{bad}, true, "A alice", 401, "", []string{`A realm="a"`}},
		{"optional, malformed", []middleware.Authenticator{a}, true, "A\talice", 401, "", []string{`A realm="a"`}},
		{"optional, foreign", []middleware.Authenticator{foreign}, true, "A alice", 401, "", []string{`A realm="a"`}},
		{"foreign to the first", []middleware.Authenticator{foreign, a}, false, "A alice", 200, "alice", nil},
		{"foreign to all", []middleware.Authenticator{foreign, b, foreign}, false, "A alice", 401, "", []string{`A realm="a"`, `B realm="b"`}},
		{"keys away", []middleware.Authenticator{away, a}, false, "A alice", 503, "", nil},
		{"given up, and the client is there", []middleware.Authenticator{gone}, false, "A alice", 502, "", nil},
		{"client gone", []middleware.Authenticator{gone}, false, "A alice", 499, "", nil},
		{"a challenge of its own", []middleware.Authenticator{own, b}, false, "A alice", 401, "", []string{"A own"}},
		{"verified, and nobody", []middleware.Authenticator{silent{}}, false, "", 500, "", nil},
		{"nobody is asked", nil, false, "", 200, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, ex := auth(t, tt.any, &middleware.AuthOptions{Optional: tt.optional})
			r := httptest.NewRequest("GET", "/", nil)
			if tt.header != "" {
				r.Header.Set("Authorization", tt.header)
			}
			w := httptest.NewRecorder()
			if tt.want == goapi.StatusClientClosedRequest {
				gone, leave := context.WithCancel(r.Context())
				leave()
				r = r.WithContext(gone)
			}
			h.ServeHTTP(w, r)
			if w.Code != tt.want {
				t.Fatalf("status = %d, want %d; %s", w.Code, tt.want, w.Body)
			}
			if got := w.Header().Values("WWW-Authenticate"); !slices.Equal(got, tt.challenges) {
				t.Errorf("WWW-Authenticate = %q, want %q", got, tt.challenges)
			}
			if strings.Contains(w.Body.String(), "secret") || strings.Contains(w.Body.String(), "alice") {
				t.Errorf("body = %s: says too much", w.Body)
			}
			subject := ""
			if ex.Identity != nil {
				subject = ex.Identity.Subject
			}
			if subject != tt.subject {
				t.Errorf("subject = %q, want %q", subject, tt.subject)
			}
		})
	}
}

func TestAuthScopes(t *testing.T) {
	bearer := &stub{scheme: "Bearer", challenge: `Bearer realm="x"`}
	plain := &stub{scheme: "Bearer", challenge: "Bearer"}
	key := &stub{scheme: "Key", challenge: `Key realm="x"`}
	tests := []struct {
		name      string
		any       []middleware.Authenticator
		scopes    []string
		announced string
		header    string
		want      int
		challenge string
	}{
		{"none needed", []middleware.Authenticator{bearer}, nil, "", "Bearer alice", 200, ""},
		{"has the operator's", []middleware.Authenticator{bearer}, []string{"read"}, "", "Bearer alice,read write", 200, ""},
		{"has the endpoint's", []middleware.Authenticator{bearer}, nil, "read, write", "Bearer alice,write read", 200, ""},
		{"has both", []middleware.Authenticator{bearer}, []string{"a"}, "b", "Bearer alice,a b", 200, ""},
		{"lacks the operator's", []middleware.Authenticator{bearer}, []string{"a"}, "b", "Bearer alice,b", 403, `Bearer realm="x", error="insufficient_scope", scope="a b"`},
		{"lacks the endpoint's", []middleware.Authenticator{bearer}, []string{"a"}, "b,\tc", "Bearer alice,a b", 403, `Bearer realm="x", error="insufficient_scope", scope="a b c"`},
		{"lacks all", []middleware.Authenticator{plain}, []string{"a"}, "a", "Bearer alice", 403, `Bearer error="insufficient_scope", scope="a"`},
		{"part of a word is none", []middleware.Authenticator{bearer}, []string{"read"}, "", "Bearer alice,readonly", 403, `Bearer realm="x", error="insufficient_scope", scope="read"`},
		{"quotes in a scope", []middleware.Authenticator{bearer}, nil, "a\"b\\c\r\nX:y", "Bearer alice", 403, `Bearer realm="x", error="insufficient_scope", scope="a\"b\\c X:y"`},
		{"other kinds have no such challenge", []middleware.Authenticator{key}, []string{"a"}, "", "Key alice", 403, ""},
		{"no credentials", []middleware.Authenticator{bearer}, []string{"a"}, "", "", 401, `Bearer realm="x"`},
		{"no authenticators, an operator's scope", nil, []string{"a"}, "", "Bearer alice,a", 403, ""},
		{"no authenticators, an endpoint's scope", nil, nil, "a", "Bearer alice,a", 403, ""},
		{"separators alone", nil, nil, " , ", "", 403, ""},
		{"separators alone, with credentials", []middleware.Authenticator{bearer}, nil, ",", "Bearer alice,a", 403, ""},
		{"space alone", []middleware.Authenticator{bearer}, []string{"a"}, " ", "Bearer alice,a", 403, ""},
	}
	for _, tt := range tests {
		for _, optional := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, optional %t", tt.name, optional), func(t *testing.T) {
				h, _ := auth(t, tt.any, &middleware.AuthOptions{Scopes: tt.scopes, Optional: optional})
				endpoint := new(goapi.Endpoint)
				if tt.announced != "" {
					endpoint.Metadata = map[string]string{"scopes": tt.announced}
				}
				h = goapi.With(&goapi.Route{Endpoint: endpoint, Upstream: upstream.Static()}, h)
				r := httptest.NewRequest("GET", "/", nil)
				if tt.header != "" {
					r.Header.Set("Authorization", tt.header)
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != tt.want || w.Header().Get("WWW-Authenticate") != tt.challenge {
					t.Errorf("status = %d, WWW-Authenticate = %s; want %d, %s", w.Code, w.Header().Get("WWW-Authenticate"), tt.want, tt.challenge)
				}
			})
		}
	}
}

func TestAuthTellsTheService(t *testing.T) {
	id := &goapi.Identity{
		Subject: "alice", Method: "jwt", Scopes: []string{"read", "write"},
		Claims: map[string]any{
			"text": "a, b", "number": json.Number("9007199254740993"), "float": 1e6, "int": 7, "bool": true,
			"list": []any{"x", json.Number("1"), false}, "strings": []string{"p", "q"}, "empty": []any{}, "nothing": nil,
		},
	}
	tests := []struct{ source, want string }{
		{"subject", "alice"},
		{"method", "jwt"},
		{"scopes", "read write"},
		{"claim:text", "a, b"},
		{"claim:number", "9007199254740993"},
		{"claim:float", "1000000"},
		{"claim:int", "7"},
		{"claim:bool", "true"},
		{"claim:list", "x,1,false"},
		{"claim:strings", "p,q"},
		{"claim:empty", ""},
		{"claim:nothing", ""},
		{"claim:absent", ""},
	}
	for _, tt := range tests {
		t.Run(tt.source, func(t *testing.T) {
			var got []string
			h := authAround(t, []middleware.Authenticator{&stub{scheme: "A", id: id}},
				&middleware.AuthOptions{Headers: map[string]string{"x-told": tt.source}},
				func(r *http.Request) { got = r.Header["X-Told"] })
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "A x")
			r.Header.Set("X-Told", "forged")
			h.ServeHTTP(httptest.NewRecorder(), r)
			if strings.Join(got, "|") != tt.want || (got == nil) != (tt.want == "") {
				t.Errorf("X-Told = %q, want %q", got, tt.want)
			}
			if r.Header.Get("X-Told") != "forged" || r.Header.Get("Authorization") != "A x" {
				t.Errorf("the request of the outer ring has changed: %v", r.Header)
			}
		})
	}
}

// TestAuthRefusesWhatReadsAsSomethingElse has values that a service would read
// in another way than who issued them wrote them.
func TestAuthRefusesWhatReadsAsSomethingElse(t *testing.T) {
	tests := []struct {
		name  string
		claim any
	}{
		{"a line break", "alice\r\nX-Admin: true"},
		{"a zero byte", "alice\x00"},
		{"space before", " admin"},
		{"space after", "admin\t"},
		{"a comma in a list", []any{"user,admin"}},
		{"space in a list", []any{" admin"}},
		{"nothing in a list", []any{"a", ""}},
		{"a list in a list", []any{[]any{"a"}}},
		{"a map", map[string]any{"a": "b"}},
		{"something else", struct{}{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := &goapi.Identity{Subject: "alice", Claims: map[string]any{"c": tt.claim}}
			h, _ := auth(t, []middleware.Authenticator{&stub{scheme: "A", id: id}},
				&middleware.AuthOptions{Headers: map[string]string{"X-Claim": "claim:c"}})
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "A x")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != 403 || !strings.Contains(w.Body.String(), `claim \"c\"`) {
				t.Errorf("status = %d, %s; want 403 that names the claim", w.Code, w.Body)
			}
		})
	}
}

func TestAuthCredentialsStayBehind(t *testing.T) {
	a, b := &stub{scheme: "A", challenge: "A"}, &stub{scheme: "B", challenge: "B"}
	foreign := &stub{scheme: "A", challenge: "A", err: middleware.ErrForeign}
	keys := mustKeys(t, "owner "+middleware.HashKey("0123456789abcdef"), nil)
	basic := mustBasic(t, "alice:"+hashOf(t, "right", 4))
	tests := []struct {
		name   string
		any    []middleware.Authenticator
		keep   bool
		header http.Header
		want   string // Authorization | X-Api-Key at the service
	}{
		{"verified", []middleware.Authenticator{a}, false, http.Header{"Authorization": {"A x"}}, "|"},
		{"kept", []middleware.Authenticator{a}, true, http.Header{"Authorization": {"A x"}}, "A x|"},
		{"of a kind that nobody asked for", []middleware.Authenticator{keys}, false, http.Header{"Authorization": {"C x"}, "X-Api-Key": {"0123456789abcdef"}}, "C x|"},
		{"a password", []middleware.Authenticator{basic}, false, http.Header{"Authorization": {pair("alice", "right")}}, "|"},
		{"a password, not looked at", []middleware.Authenticator{keys, basic}, false, http.Header{"Authorization": {pair("root", "x")}, "X-Api-Key": {"0123456789abcdef"}}, "|"},
		{"not looked at", []middleware.Authenticator{a, keys}, false, http.Header{"Authorization": {"A x"}, "X-Api-Key": {"forged"}}, "|"},
		{"not looked at, others kept", []middleware.Authenticator{a, keys}, true, http.Header{"Authorization": {"A x"}, "X-Api-Key": {"forged"}}, "A x|"},
		{"not looked at, key kept", []middleware.Authenticator{keys, b}, true, http.Header{"Authorization": {"B forged"}, "X-Api-Key": {"0123456789abcdef"}}, "|0123456789abcdef"},
		{"of the second issuer, kept", []middleware.Authenticator{foreign, a}, true, http.Header{"Authorization": {"A x"}}, "A x|"},
		{"written in another way", []middleware.Authenticator{a, keys}, false, http.Header{"Authorization": {"A x"}, "X_api_key": {"forged"}}, "|"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := "not served"
			h := authAround(t, tt.any, &middleware.AuthOptions{KeepCredentials: tt.keep}, func(r *http.Request) {
				got = r.Header.Get("Authorization") + "|" + r.Header.Get("X-Api-Key") + strings.Join(r.Header["X_api_key"], "")
			})
			r := httptest.NewRequest("GET", "/", nil)
			r.Header = tt.header
			h.ServeHTTP(httptest.NewRecorder(), r)
			if got != tt.want {
				t.Errorf("service sees %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAuthWithoutHeadersToSetLeavesTheRequestAlone(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r, _ = withExchange(r)
	var seen *http.Request
	h := authAround(t, nil, nil, func(r *http.Request) { seen = r })
	h.ServeHTTP(httptest.NewRecorder(), r)
	if seen != r {
		t.Error("a request that nobody was asked about has been copied")
	}
}

func TestAuthOptions(t *testing.T) {
	external := func(copied ...string) middleware.Authenticator {
		e, err := middleware.NewExternal("http://127.0.0.1:1", &middleware.ExternalOptions{Copy: copied})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, s := range []string{"", "read write", "read,write"} {
		if _, err := middleware.Auth(nil, &middleware.AuthOptions{Scopes: []string{s}}); err == nil || !strings.Contains(err.Error(), "write each alone") {
			t.Errorf("Auth with scope %q: error = %v", s, err)
		}
	}
	tests := []struct {
		name    string
		any     []middleware.Authenticator
		headers map[string]string
		want    string // in the error; empty is none
	}{
		{"good", nil, map[string]string{"X-User": "subject", "X-Org": "claim:org"}, ""},
		{"no part", nil, map[string]string{"X-User": "sub"}, `"sub"`},
		{"no claim", nil, map[string]string{"X-User": "claim:"}, "claim:NAME"},
		{"no name", nil, map[string]string{"X User": "subject"}, "no name of a header"},
		{"underscore", nil, map[string]string{"X_User": "subject"}, "X-User"},
		{"one hop", nil, map[string]string{"Te": "subject"}, "meaning of its own"},
		{"credentials", nil, map[string]string{"authorization": "subject"}, "meaning of its own"},
		{"host", nil, map[string]string{"host": "subject"}, "meaning of its own"},
		{"framing", nil, map[string]string{"Content-Length": "subject"}, "Content-"},
		{"forwarded", nil, map[string]string{"X-Forwarded-User": "subject"}, "X-Forwarded-"},
		{"go-micro's", nil, map[string]string{"Micro-Id": "subject"}, "Micro-"},
		{"twice", nil, map[string]string{"X-User": "subject", "x-user": "method"}, "twice"},
		{"copied too", []middleware.Authenticator{external("X-User")}, map[string]string{"X-User": "subject"}, "twice"},
		{"copied by two", []middleware.Authenticator{external("X-User"), external("X-User")}, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := middleware.Auth(tt.any, &middleware.AuthOptions{Headers: tt.headers})
			if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("Auth error = %v, want one line with %q", err, tt.want)
			}
		})
	}
}

// auth returns an Auth around a handler that answers 200, within an Exchange
// that the caller may look at.
func auth(t *testing.T, authenticators []middleware.Authenticator, opts *middleware.AuthOptions) (http.Handler, *goapi.Exchange) {
	t.Helper()
	inner := authAround(t, authenticators, opts, func(*http.Request) {})
	learnt := new(goapi.Exchange)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := goapi.ExchangeFrom(r.Context())
		if ex == nil {
			w, r, ex = goapi.NewExchange(w, r)
		}
		inner.ServeHTTP(w, r)
		*learnt = *ex
	}), learnt
}

// authAround returns an Auth around a look at what the service would see.
func authAround(t *testing.T, authenticators []middleware.Authenticator, opts *middleware.AuthOptions, look func(*http.Request)) http.Handler {
	t.Helper()
	wrap, err := middleware.Auth(authenticators, opts)
	if err != nil {
		t.Fatal(err)
	}
	return wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { look(r) }))
}

// withExchange returns r with an Exchange.
func withExchange(r *http.Request) (*http.Request, *goapi.Exchange) {
	_, r, ex := goapi.NewExchange(httptest.NewRecorder(), r)
	return r, ex
}

func mustKeys(t testing.TB, lines string, opts *middleware.KeysOptions) *middleware.Keys {
	t.Helper()
	k, err := middleware.NewKeys(strings.NewReader(lines), opts)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestUnclaimed: where nobody is asked who he is, nobody can say it either.
func TestUnclaimed(t *testing.T) {
	clean, err := middleware.Unclaimed([]string{"X-User"})
	if err != nil {
		t.Fatal(err)
	}
	var got http.Header
	h := clean(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	tests := []struct {
		name   string
		header http.Header
		status int
		want   int // headers that the service gets
	}{
		{"nothing", http.Header{"Accept": {"*/*"}}, http.StatusOK, 1},
		{"the header", http.Header{"Accept": {"*/*"}, "X-User": {"root"}}, http.StatusOK, 1},
		{"one that reads alike", http.Header{"Accept": {"*/*"}, "X_user": {"root"}, "X.USER": {"root"}}, http.StatusOK, 1},
		{"named for one hop", http.Header{"Connection": {"X-User"}}, http.StatusBadRequest, 0},
	}
	for _, tt := range tests {
		got = nil
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header = tt.header
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.status || len(got) != tt.want {
			t.Errorf("%s: %d with %v, want %d with %d headers", tt.name, w.Code, got, tt.status, tt.want)
		}
	}
	if none, err := middleware.Unclaimed(nil); none != nil || err != nil {
		t.Errorf("Unclaimed of nothing = %v, %v, want nil", none != nil, err)
	}
	if _, err := middleware.Unclaimed([]string{"Host"}); err == nil {
		t.Error("Unclaimed of Host: no error")
	}
}
