package middleware

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/goapi-dev/goapi"
)

// identityHeader is what a service is told of an identity.
type identityHeader struct {
	name   string // canonical
	source string // subject, method, scopes or claim
	claim  string
}

// addHeaders adds what AuthOptions.Headers say.
func (a *auth) addHeaders(headers map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if err := checkIdentityHeader(name); err != nil {
			return err
		}
		h := identityHeader{name: textproto.CanonicalMIMEHeaderKey(name), source: headers[name]}
		if claim, ok := strings.CutPrefix(h.source, "claim:"); ok {
			h.source, h.claim = "claim", claim
		}
		switch {
		case h.source == "claim" && h.claim != "":
		case h.source == "subject", h.source == "method", h.source == "scopes":
		default:
			return fmt.Errorf("middleware: header %s is to be %q, which is no part of an identity: write subject, method, scopes or claim:NAME", name, headers[name])
		}
		if i := slices.IndexFunc(a.headers, func(b identityHeader) bool { return isSameName(b.name, name) }); i >= 0 {
			if a.headers[i] == h {
				continue
			}
			return fmt.Errorf("middleware: header %s is given twice, also as %s: leave one out", name, a.headers[i].name)
		}
		a.headers = append(a.headers, h)
	}
	return nil
}

// IdentityHeaders returns the names of the request headers in which services are
// told of identities: those of opts, and those that the Authenticators add.
func IdentityHeaders(authenticators []Authenticator, opts *AuthOptions) []string {
	names := make(map[string]struct{})
	if opts != nil {
		for name := range opts.Headers {
			names[name] = struct{}{}
		}
	}
	for _, au := range authenticators {
		if from, ok := au.(interface{ identityHeaders() map[string]string }); ok {
			for name := range from.identityHeaders() {
				names[name] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Unclaimed returns a middleware that takes off what clients send under the names
// of identity headers, as Auth does under its own: a service that believes such a
// header must be able to on all of its routes, those included that anybody may
// use. With no names it is nil.
func Unclaimed(names []string) (func(http.Handler) http.Handler, error) {
	a := new(auth)
	for _, name := range names {
		if err := checkIdentityHeader(name); err != nil {
			return nil, err
		}
		a.headers = append(a.headers, identityHeader{name: textproto.CanonicalMIMEHeaderKey(name)})
	}
	if len(names) == 0 {
		return nil, nil //nolint:nilnil // nothing is to be done
	}
	return func(next http.Handler) http.Handler {
		return goapi.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			if err := a.checkConnection(r); err != nil {
				return err
			}
			out, err := a.forService(r, nil, 0)
			if err == nil {
				next.ServeHTTP(w, out)
			}
			return err
		})
	}, nil
}

// checkIdentityHeader returns why a service cannot be told something in a
// header of that name, or nil.
func checkIdentityHeader(name string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("middleware: %q is no name of a header: write one such as X-User", name)
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	switch canonical {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
		"Proxy", "Proxy-Authorization", "Proxy-Authenticate", "Host", "Via", "Expect", "X-Real-Ip", "Forwarded", "Cookie", "Authorization":
		return fmt.Errorf("middleware: header %s has a meaning of its own: take another, such as X-User", name)
	}
	for _, prefix := range []string{"Content-", "X-Forwarded-", "Micro-", "X-Micro-", "Grpc-"} {
		if strings.HasPrefix(canonical, prefix) {
			return fmt.Errorf("middleware: header %s has a meaning of its own, as all of %s*: take another, such as X-User", name, prefix)
		}
	}
	if strings.Contains(name, "_") {
		return fmt.Errorf("middleware: header %s does not reach services, because of its underscore: write %s", name, strings.ReplaceAll(name, "_", "-"))
	}
	return nil
}

// isSameName says that a service might take one header name for the other:
// case does not count, and some turn all but letters and digits into one sign.
func isSameName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if foldName(a[i]) != foldName(b[i]) {
			return false
		}
	}
	return true
}

func foldName(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	}
	return '-'
}

// isIdentityHeader says that a name, or one like it, is the gateway's to set.
func (a *auth) isIdentityHeader(name string) bool {
	for i := range a.headers {
		if isSameName(a.headers[i].name, name) {
			return true
		}
	}
	return false
}

// isForged says that a client has sent what the gateway alone sets.
func (a *auth) isForged(r *http.Request) bool {
	if len(a.headers) == 0 {
		return false
	}
	for name := range r.Header {
		if a.isIdentityHeader(name) {
			return true
		}
	}
	return len(r.Trailer) > 0
}

// removeHeaders removes all that looks like an identity header.
func (a *auth) removeHeaders(h http.Header) {
	if len(a.headers) == 0 {
		return
	}
	for name := range h {
		if a.isIdentityHeader(name) {
			delete(h, name)
		}
	}
}

// checkConnection refuses a request whose Connection header names an identity
// header: as one for this hop only, it would not reach the service.
func (a *auth) checkConnection(r *http.Request) error {
	if len(a.headers) == 0 {
		return nil
	}
	for _, list := range r.Header["Connection"] {
		for option := range strings.SplitSeq(list, ",") {
			if option = strings.TrimSpace(option); a.isIdentityHeader(option) {
				return goapi.NewError(http.StatusBadRequest,
					fmt.Sprintf("the Connection header names %s, which is not for one hop: leave it out", option), nil)
			}
		}
	}
	return nil
}

// value returns what a service is told of id. Empty is nothing.
func (h *identityHeader) value(id *goapi.Identity) (string, error) {
	var (
		value string
		ok    = true
	)
	switch h.source {
	case "subject":
		value = id.Subject
	case "method":
		value = id.Method
	case "scopes":
		value = strings.Join(id.Scopes, " ")
	default:
		value, ok = headerText(id.Claims[h.claim])
	}
	if !ok || !isHeaderText(value) {
		what := h.source
		if h.claim != "" {
			what = fmt.Sprintf("claim %q", h.claim)
		}
		return "", goapi.NewError(http.StatusForbidden,
			fmt.Sprintf("the %s of this identity cannot be told to the service in a header", what), nil)
	}
	return value, nil
}

// isHeaderText says that a header carries s as it is: nothing in it ends the
// header, and nothing is taken off its ends.
func isHeaderText(s string) bool {
	return httpguts.ValidHeaderFieldValue(s) && strings.Trim(s, " \t") == s
}

// headerText returns the value of a claim in a header, lists separated by
// commas. It is false where the service could read it in another way.
func headerText(claim any) (string, bool) {
	switch v := claim.(type) {
	case nil:
		return "", true
	case []any:
		return joined(v, plainText)
	case []string:
		return joined(v, func(s string) (string, bool) { return s, true })
	}
	return plainText(claim)
}

// plainText returns the value of a claim that is neither list nor map.
func plainText(claim any) (string, bool) {
	switch v := claim.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case int, int64, uint64:
		return fmt.Sprint(v), true
	}
	return "", false
}

// joined returns a list with commas between its elements, if none holds one.
func joined[E any](list []E, text func(E) (string, bool)) (string, bool) {
	var b strings.Builder
	for i, e := range list {
		s, ok := text(e)
		if !ok || s == "" || strings.Contains(s, ",") || !isHeaderText(s) {
			return "", false
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(s)
	}
	return b.String(), true
}
