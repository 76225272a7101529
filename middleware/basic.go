package middleware

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"

	"github.com/goapi-dev/goapi"
)

const (
	basicScheme = "Basic"
	// maxCost bounds what one password may cost: about a quarter of a second.
	maxCost = 12
	// maxPassword is as much of a password as bcrypt looks at.
	maxPassword = 72
	// maxUserPassword bounds a name and a password, encoded.
	maxUserPassword = 1 << 10
	// maxUsers bounds a file of users.
	maxUsers = 1 << 16
	// A pair of name and password is remembered for a while, so that bcrypt is
	// not paid for each request; one that is wrong for less long.
	rightFor, wrongFor = 5 * time.Minute, time.Minute
	// What waits for bcrypt is bounded in number and time.
	maxWaiting = 64
	maxWait    = 2 * time.Second
)

// Basic knows users by name and password. Their passwords are held as bcrypt
// hashes. Checking one is slow on purpose, so at most half of the processors do
// that at a time, few requests wait for it, for up to 2 s, and the others are
// answered 503; a user's last password is remembered for 5 min, as a keyed hash.
// A name that is not known takes as long as one that is.
type Basic struct {
	byName    map[string]*basicUser
	users     []*basicUser // those of byName
	secret    [32]byte     // of this process: what is remembered is of no use elsewhere
	checking  chan struct{}
	waiting   atomic.Int32
	challenge string
}

// basicUser is a line of the file.
type basicUser struct {
	identity *goapi.Identity
	hash     []byte
	// The last pair of name and password that was right, and the last that was
	// wrong, which may be of a name that is not known.
	right, wrong atomic.Pointer[remembered]
}

// remembered is a pair of name and password and what it was.
type remembered struct {
	sum   [sha256.Size]byte
	until time.Time
}

// is says that sum is what is remembered.
func (p *remembered) is(sum *[sha256.Size]byte, now time.Time) bool {
	return p != nil && subtle.ConstantTimeCompare(p.sum[:], sum[:]) == 1 && now.Before(p.until)
}

var (
	_ Authenticator = (*Basic)(nil)
	_ Cleaner       = (*Basic)(nil)
)

// NewBasic reads users, one a line, as htpasswd -B writes them: name, colon and
// bcrypt hash. Other hashes than bcrypt's are an error, and so is a cost over
// 12. A line that starts with "#" is a comment. The realm is what browsers
// show; empty is goapi.
func NewBasic(r io.Reader, realm string) (*Basic, error) {
	if realm == "" {
		realm = "goapi"
	}
	b := &Basic{
		byName:    map[string]*basicUser{},
		checking:  make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		challenge: basicScheme + " realm=" + Quote(realm) + `, charset="UTF-8"`,
	}
	_, _ = rand.Read(b.secret[:]) // never returns an error
	err := eachLine(r, func(number int, fields []string) error {
		if err := b.add(fields); err != nil {
			return fmt.Errorf("middleware: basic: line %d: %w", number, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(b.users) == 0 {
		return nil, errors.New("middleware: basic: there are no users: write a line with htpasswd -nB USER")
	}
	return b, nil
}

func (b *Basic) add(fields []string) error {
	name, hash, ok := strings.Cut(strings.Join(fields, " "), ":")
	if !ok || name == "" {
		return errors.New("want name:hash: write what htpasswd -nB USER prints")
	}
	switch {
	case !utf8.ValidString(name):
		return errors.New("the name is not UTF-8")
	case b.byName[name] != nil:
		return fmt.Errorf("%s is there already: leave one out", name)
	case len(b.users) == maxUsers:
		return fmt.Errorf("there are more than %d users", maxUsers)
	case !isBcrypt(hash):
		// What stands there may be the password itself: it is not repeated.
		return fmt.Errorf("the password of %s is no bcrypt hash: run htpasswd -nB %s", name, name)
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || len(hash) != 60 {
		return fmt.Errorf("the bcrypt hash of %s is damaged: run htpasswd -nB %s", name, name)
	}
	if cost > maxCost {
		return fmt.Errorf("the bcrypt hash of %s has cost %d, and each try would take that long; at most %d: run htpasswd -nB -C 10 %s",
			name, cost, maxCost, name)
	}
	u := &basicUser{identity: &goapi.Identity{Subject: name, Method: "basic"}, hash: []byte(hash)}
	b.byName[name] = u
	b.users = append(b.users, u)
	return nil
}

// isBcrypt says that a hash is of a kind that is safe: $2x$ is of an
// implementation that was wrong.
func isBcrypt(hash string) bool {
	return strings.HasPrefix(hash, "$2a$") || strings.HasPrefix(hash, "$2b$") || strings.HasPrefix(hash, "$2y$")
}

// Challenge implements Authenticator.
func (b *Basic) Challenge() string { return b.challenge }

// Clean implements Cleaner.
func (b *Basic) Clean(r *http.Request) { RemoveCredentials(r, basicScheme) }

// Authenticate implements Authenticator.
func (b *Basic) Authenticate(r *http.Request) (*goapi.Identity, error) {
	encoded, err := Credentials(r, basicScheme)
	if err != nil {
		return nil, err
	}
	var buf [len(b.secret) + maxUserPassword]byte
	copy(buf[:], b.secret[:])
	n := 0
	if len(encoded) <= maxUserPassword {
		n, err = base64.StdEncoding.Strict().Decode(buf[len(b.secret):], []byte(encoded))
	}
	pair := buf[len(b.secret) : len(b.secret)+n]
	name, password, ok := strings.Cut(string(pair), ":")
	if err != nil || !ok || len(password) > maxPassword || strings.ContainsFunc(name+password, isControl) {
		return nil, goapi.NewError(http.StatusUnauthorized, "the Basic credentials are malformed: "+
			"write name:password in base64, the password of at most 72 bytes", nil)
	}
	return b.verify(r.Context(), name, password, sha256.Sum256(buf[:len(b.secret)+n]))
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// verify returns who has a name and a password; sum is of both.
func (b *Basic) verify(ctx context.Context, name, password string, sum [sha256.Size]byte) (*goapi.Identity, error) {
	now := time.Now()
	u, known := b.byName[name]
	if !known {
		u = b.standIn(name)
	}
	if known && u.right.Load().is(&sum, now) {
		return u.identity, nil
	}
	if u.wrong.Load().is(&sum, now) {
		return nil, errWrongPassword()
	}
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	defer b.leave()
	err := bcrypt.CompareHashAndPassword(u.hash, []byte(password))
	if err != nil || !known {
		u.wrong.Store(&remembered{sum: sum, until: now.Add(wrongFor)})
		return nil, errWrongPassword()
	}
	u.right.Store(&remembered{sum: sum, until: now.Add(rightFor)})
	return u.identity, nil
}

// standIn returns the user whose hash is tried for a name that is not known:
// always the same, so that the name looks like any other.
func (b *Basic) standIn(name string) *basicUser {
	sum := sha256.Sum256(append(b.secret[:], name...))
	return b.users[binary.BigEndian.Uint64(sum[:])%uint64(len(b.users))]
}

func errWrongPassword() error {
	return goapi.NewError(http.StatusUnauthorized, "the name or the password is wrong", nil)
}

// enter waits for its turn to check a password.
func (b *Basic) enter(ctx context.Context) error {
	select {
	case b.checking <- struct{}{}:
		return nil
	default:
	}
	if b.waiting.Add(1) > maxWaiting {
		b.waiting.Add(-1)
		return errTooManyPasswords()
	}
	defer b.waiting.Add(-1)
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case b.checking <- struct{}{}:
		return nil
	case <-timer.C:
		return errTooManyPasswords()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Basic) leave() { <-b.checking }

func errTooManyPasswords() error {
	e := goapi.NewError(http.StatusServiceUnavailable, "too many passwords are being checked: try again", nil)
	e.Header = http.Header{"Retry-After": {"1"}}
	return e
}
