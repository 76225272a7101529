package middleware

import (
	"errors"
	"io"
	"net/http"

	"github.com/goapi-dev/goapi"
)

// Basic knows users by name and password.
type Basic struct{ challenge string }

var _ Authenticator = (*Basic)(nil)

// NewBasic reads users as htpasswd -B writes them.
func NewBasic(r io.Reader, realm string) (*Basic, error) {
	return &Basic{challenge: "Basic realm=" + Quote(realm) + `, charset="UTF-8"`}, nil
}

// Challenge implements Authenticator.
func (b *Basic) Challenge() string { return b.challenge }

// Authenticate implements Authenticator.
func (b *Basic) Authenticate(r *http.Request) (*goapi.Identity, error) {
	return nil, errors.New("middleware: basic: not yet")
}
