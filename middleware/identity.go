package middleware

import (
	"errors"
	"net/http"
	"strings"

	"github.com/goapi-dev/goapi"
)

// An Authenticator verifies who a request comes from. It may be used
// concurrently.
type Authenticator interface {
	// Authenticate returns ErrNoCredentials if r carries nothing of its kind,
	// and another error if what r carries is not valid. A *goapi.Error in it
	// (such as 503 when keys cannot be had) is answered as it is; any other is
	// 401. It does not change r. The Identity is shared: read-only.
	Authenticate(r *http.Request) (*goapi.Identity, error)
	// Challenge returns what WWW-Authenticate says of its kind of credentials.
	// Empty is none.
	Challenge() string
}

// A Cleaner is an Authenticator that can take its kind of credentials off a
// request, verified or not.
type Cleaner interface {
	// Clean may change r and its Header, but nothing else that r points to.
	Clean(r *http.Request)
}

var (
	// ErrNoCredentials is returned for a request that carries nothing of an
	// Authenticator's kind.
	ErrNoCredentials = errors.New("middleware: no credentials")
	// ErrForeign is returned, wrapped or not, for credentials that are of an
	// Authenticator's kind and that somebody else issued: another may know
	// them. If none does they are not valid.
	ErrForeign = errors.New("middleware: credentials of another issuer")
)

// Credentials returns what r's Authorization header holds for a scheme, whose
// case does not matter. It is ErrNoCredentials when there is none, or one of
// another scheme, and a *goapi.Error when it is ambiguous or malformed: what
// one reader takes for no credentials, the next must not take for some. What
// the credentials hold is the caller's to check.
func Credentials(r *http.Request, scheme string) (string, error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return "", ErrNoCredentials
	}
	if len(values) > 1 {
		return "", errTwoAuthorizations()
	}
	rest, ok := cutScheme(values[0], scheme)
	if !ok {
		return "", ErrNoCredentials
	}
	credentials := strings.TrimLeft(rest, " ")
	if credentials == "" || len(credentials) == len(rest) {
		return "", goapi.NewError(http.StatusUnauthorized,
			"the Authorization header is malformed: write "+scheme+", one space and the credentials", nil)
	}
	return credentials, nil
}

func errTwoAuthorizations() error {
	return goapi.NewError(http.StatusBadRequest, "the request has more than one Authorization header: send one", nil)
}

// RemoveCredentials takes an Authorization header of the scheme off r.
func RemoveCredentials(r *http.Request, scheme string) {
	for _, value := range r.Header["Authorization"] {
		if _, ok := cutScheme(value, scheme); ok {
			delete(r.Header, "Authorization")
			return
		}
	}
}

// cutScheme returns what follows the scheme of an Authorization header, if it
// is the one that is meant.
func cutScheme(value, scheme string) (string, bool) {
	// The lengths are equal, so that no letter folds into one of ASCII.
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", false
	}
	rest := value[len(scheme):]
	if rest != "" && isAlphanumeric(rest[0]) {
		return "", false
	}
	return rest, true
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// Quote returns s as a quoted string of a header, for the parameters of a
// challenge. What no header may hold becomes a question mark.
func Quote(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for i := range len(s) {
		c := s[i]
		switch {
		case c < ' ', c >= 0x7f:
			c = '?'
		case c == '"', c == '\\':
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	b.WriteByte('"')
	return b.String()
}
