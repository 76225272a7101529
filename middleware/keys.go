package middleware

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/goapi-dev/goapi"
)

const (
	// maxKeys bounds a file of keys.
	maxKeys = 1 << 20
	// maxLine bounds a line of a file of keys or passwords.
	maxLine = 4 << 10
	// maxKey and minKey bound a key itself.
	maxKey, minKey = 512, 16
	// keyPrefix lets those who look for leaked secrets know a key.
	keyPrefix = "goapi_"
	// keyScheme is the scheme of Authorization.
	keyScheme = "ApiKey"
)

// KeysOptions adjust Keys. A nil *KeysOptions means all defaults.
type KeysOptions struct {
	// Header is the request header that carries a key, besides
	// "Authorization: ApiKey …". Default: X-API-Key.
	Header string
	// Query is the parameter of the query that may carry a key, which then
	// stands in the logs of whoever forwards the request. Default: none.
	Query string
	// Realm is what the challenge names. Default: goapi.
	Realm string
}

// Keys knows callers by API keys. It holds their hashes alone: a key is looked
// up by its hash, so that how long it takes says nothing of the keys there are.
type Keys struct {
	byHash        map[[sha256.Size]byte]*goapi.Identity
	header, query string
	challenge     string
}

var (
	_ Authenticator = (*Keys)(nil)
	_ Cleaner       = (*Keys)(nil)
)

// NewKeys reads keys, one a line: an owner, the hash that HashKey returns, and
// the scopes of the key, separated by space. A line that starts with "#" is a
// comment. An owner may have several keys; that there is none at all is an error.
func NewKeys(r io.Reader, opts *KeysOptions) (*Keys, error) {
	k := &Keys{byHash: map[[sha256.Size]byte]*goapi.Identity{}, header: "X-Api-Key", challenge: keyScheme + ` realm="goapi"`}
	if opts != nil {
		if err := k.adjust(opts); err != nil {
			return nil, err
		}
	}
	err := eachLine(r, func(number int, fields []string) error {
		id, sum, err := decodeKey(fields)
		if err != nil {
			return fmt.Errorf("middleware: keys: line %d: %w", number, err)
		}
		if _, ok := k.byHash[sum]; ok {
			return fmt.Errorf("middleware: keys: line %d: the key of %s is there already: leave one out", number, id.Subject)
		}
		if len(k.byHash) == maxKeys {
			return fmt.Errorf("middleware: keys: line %d: there are more than %d keys", number, maxKeys)
		}
		k.byHash[sum] = id
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(k.byHash) == 0 { // as a file is for a moment that is written
		return nil, errors.New("middleware: keys: there are no keys: write a line with goapi key OWNER")
	}
	return k, nil
}

func (k *Keys) adjust(opts *KeysOptions) error {
	if opts.Header != "" {
		if !httpguts.ValidHeaderFieldName(opts.Header) {
			return fmt.Errorf("middleware: keys: %q is no name of a header: write one such as X-API-Key", opts.Header)
		}
		k.header = textproto.CanonicalMIMEHeaderKey(opts.Header)
	}
	if k.header == "Authorization" || k.header == "Cookie" {
		return fmt.Errorf("middleware: keys: header %s holds more than a key: take another, such as X-API-Key; \"Authorization: ApiKey …\" is always understood", k.header)
	}
	if opts.Realm != "" {
		k.challenge = keyScheme + " realm=" + Quote(opts.Realm)
	}
	k.query = opts.Query
	return nil
}

// decodeKey reads a line: owner, hash, scopes.
func decodeKey(fields []string) (*goapi.Identity, [sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	if len(fields) < 2 {
		return nil, sum, errors.New("want an owner and the hash of a key: write what goapi key prints")
	}
	digits, ok := strings.CutPrefix(fields[1], "sha256:")
	if n, err := hex.Decode(sum[:], []byte(digits[:min(len(digits), hex.EncodedLen(len(sum)))])); !ok || err != nil ||
		n != len(sum) || len(digits) != hex.EncodedLen(len(sum)) {
		// What stands there may be the key itself: it is not repeated.
		return nil, sum, fmt.Errorf("the key of %s is no hash: write what goapi key prints, sha256: and 64 hexadecimal digits", fields[0])
	}
	return &goapi.Identity{Subject: fields[0], Method: "key", Scopes: fields[2:]}, sum, nil
}

// eachLine calls f with the number and the fields of each line that has any.
func eachLine(r io.Reader, f func(number int, fields []string) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	number := 0
	for lines.Scan() {
		number++
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if strings.ContainsFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return fmt.Errorf("middleware: line %d: has a control character: take it out", number)
		}
		if err := f(number, strings.Fields(line)); err != nil {
			return err
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("middleware: line %d: is longer than %d bytes", number+1, maxLine)
	}
	return lines.Err()
}

// HashKey returns what a file of keys says of a key.
func HashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// NewKey returns a new key: 256 random bits, as text.
func NewKey() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never returns an error
	return keyPrefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// Challenge implements Authenticator.
func (k *Keys) Challenge() string { return k.challenge }

// Authenticate implements Authenticator.
func (k *Keys) Authenticate(r *http.Request) (*goapi.Identity, error) {
	key, err := k.find(r)
	if err != nil {
		return nil, err
	}
	if len(key) < minKey || len(key) > maxKey {
		return nil, errUnknownKey()
	}
	var text [maxKey]byte
	id, ok := k.byHash[sha256.Sum256(text[:copy(text[:], key)])]
	if !ok {
		return nil, errUnknownKey()
	}
	return id, nil
}

func errUnknownKey() error {
	return goapi.NewError(http.StatusUnauthorized, "the API key is not known", nil)
}

// find returns the one key that r carries.
func (k *Keys) find(r *http.Request) (string, error) {
	key, err := Credentials(r, keyScheme)
	if err != nil && !errors.Is(err, ErrNoCredentials) {
		return "", err
	}
	found := 0
	if err == nil {
		found++
	}
	if values := r.Header[k.header]; len(values) > 0 {
		found += len(values)
		key = values[0]
	}
	if k.query != "" {
		_, values := cutQuery(r.URL.RawQuery, k.query)
		found += len(values)
		if len(values) > 0 {
			key = values[0]
		}
	}
	switch found {
	case 0:
		return "", ErrNoCredentials
	case 1:
		return key, nil
	}
	return "", goapi.NewError(http.StatusBadRequest, "the request carries more than one API key: send one", nil)
}

// Clean implements Cleaner.
func (k *Keys) Clean(r *http.Request) {
	RemoveCredentials(r, keyScheme)
	for name := range r.Header {
		if isSameName(name, k.header) {
			delete(r.Header, name)
		}
	}
	if k.query == "" {
		return
	}
	rest, values := cutQuery(r.URL.RawQuery, k.query)
	if len(values) == 0 {
		return
	}
	u := *r.URL
	u.RawQuery = rest
	r.URL, r.RequestURI = &u, u.RequestURI()
}

// cutQuery returns a query without a parameter, and the values that it had.
func cutQuery(query, name string) (rest string, values []string) {
	if query == "" {
		return "", nil
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(k); err != nil || k != name {
			kept = append(kept, pair)
			continue
		}
		if text, err := url.QueryUnescape(v); err == nil {
			v = text
		}
		values = append(values, v)
	}
	return strings.Join(kept, "&"), values
}
