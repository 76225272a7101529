package jwt_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	upstream "github.com/golang-jwt/jwt/v5"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware/jwt"
)

// issuer is a transport to an issuer whose keys and mood change.
type issuer struct {
	mu    sync.Mutex
	set   []byte
	err   error
	slow  time.Duration
	asked int
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.asked++
	set, err, slow := i.set, i.err, i.slow
	i.mu.Unlock()
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-time.After(slow):
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(bytes.NewReader(set)), Header: http.Header{}, Request: r}, nil
}

// change sets what the issuer answers from now on.
func (i *issuer) change(set []byte, err error, slow time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.set, i.err, i.slow = set, err, slow
}

// count returns how often it was asked since the last count.
func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := i.asked
	i.asked = 0
	return n
}

// of returns a verifier of the issuer's tokens, and a log of what it says.
func (i *issuer) of(t *testing.T) (*jwt.Verifier, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	return verifier(t, jwt.Options{
		Algorithms: []string{"RS256", "ES256", "EdDSA"}, JWKS: "https://issuer.example/keys", Transport: i,
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	}), log
}

func TestRefresh(t *testing.T) {
	k := keys(t)
	first, second := k.set(t, "rsa"), k.set(t, "p256")
	until := map[string]any{"exp": time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).Unix()} // the fake clock starts in 2000
	old, next := k.sign(t, "RS256", "rsa", claims(until), nil), k.sign(t, "ES256", "p256", claims(until), nil)
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{set: first}
		v, log := i.of(t)
		defer run(t, v)()
		synctest.Wait()
		check(t, v, old, "alice", "")
		if got := i.count(); got != 1 {
			t.Errorf("asked %d times at the start, want once", got)
		}
		// Every 5 min.
		time.Sleep(16 * time.Minute)
		if got := i.count(); got != 3 {
			t.Errorf("asked %d times in 16 min, want 3", got)
		}
		// A key that is revoked ends what was remembered, within a refresh.
		i.change(second, nil, 0)
		check(t, v, old, "alice", "")
		time.Sleep(6 * time.Minute)
		check(t, v, old, "", "not valid")
		check(t, v, next, "alice", "")
		// All keys are revoked.
		i.change(setOf(), nil, 0)
		time.Sleep(6 * time.Minute)
		check(t, v, next, "", "not valid")
		if !strings.Contains(log.String(), "no token is valid") {
			t.Errorf("log = %s", log)
		}
	})
}

// TestTheIssuerIsAway has keys that serve on while nobody can be asked for
// them.
func TestTheIssuerIsAway(t *testing.T) {
	k := keys(t)
	first, second := k.set(t, "rsa"), k.set(t, "rsa", "p256")
	until := map[string]any{"exp": time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).Unix()}
	old, next := k.sign(t, "RS256", "rsa", claims(until), nil), k.sign(t, "ES256", "p256", claims(until), nil)
	fresh := k.sign(t, "RS256", "rsa", claims(map[string]any{"exp": until["exp"], "sub": "bob"}), nil)
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{err: errors.New("no route to host")}
		v, log := i.of(t)
		defer run(t, v)()
		synctest.Wait()
		if _, err := v.Authenticate(bearer(old)); goapi.Status(err) != 503 {
			t.Errorf("without keys: %v, want 503", err)
		}
		i.count()
		time.Sleep(time.Hour)
		if got := i.count(); got < 12 || got > 30 {
			t.Errorf("asked %d times in an hour, want it to be seldom", got)
		}
		i.change(first, nil, 0)
		time.Sleep(5 * time.Minute)
		check(t, v, old, "alice", "")

		i.change(nil, errors.New("no route to host"), 0)
		time.Sleep(24 * time.Hour)
		check(t, v, old, "alice", "")
		check(t, v, fresh, "bob", "")
		if _, err := v.Authenticate(bearer(next)); goapi.Status(err) != 503 {
			t.Errorf("a key that may be new: %v, want 503", err)
		}
		if got := strings.Count(log.String(), "cannot be had;"); got != 2 {
			t.Errorf("log says %d times that keys cannot be had, want twice:\n%s", got, log)
		}
		i.change(second, nil, 0)
		time.Sleep(5 * time.Minute)
		check(t, v, next, "alice", "")
	})
}

// TestUnknownKeys has clients who make up names of keys: the issuer is asked
// seldom, and one whose key is new does not wait for the next refresh.
func TestUnknownKeys(t *testing.T) {
	k := keys(t)
	first, second := k.set(t, "rsa"), k.set(t, "rsa", "p256")
	until := map[string]any{"exp": time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).Unix()}
	next := k.sign(t, "ES256", "p256", claims(until), nil)
	var forged [100]string
	for i := range forged {
		forged[i] = k.sign(t, "EdDSA", "ed", claims(until), map[string]any{"kid": fmt.Sprint(i)})
	}
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{set: first, slow: time.Second}
		v, _ := i.of(t)
		defer run(t, v)()
		time.Sleep(time.Minute)
		i.count()
		began := time.Now()
		var wg sync.WaitGroup
		for range 60 { // of 60 s
			for _, token := range forged {
				wg.Go(func() { check401(t, v, token) })
			}
			time.Sleep(time.Second)
		}
		wg.Wait()
		if got := i.count(); got < 8 || got > 13 {
			t.Errorf("asked %d times in a minute of 6,000 forged tokens, want it every 5 s", got)
		}
		if took := time.Since(began); took > 62*time.Second {
			t.Errorf("took %s, want a minute", took)
		}
		// A rotation, in the middle of that.
		i.change(second, nil, time.Second)
		time.Sleep(6 * time.Second)
		began = time.Now()
		if _, err := v.Authenticate(bearer(next)); err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("a new key: %v after %s", err, time.Since(began))
		}
	})
}

// TestWaitingIsBounded has an issuer that does not answer.
func TestWaitingIsBounded(t *testing.T) {
	k := keys(t)
	token := k.sign(t, "EdDSA", "ed", claims(nil), nil)
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{slow: time.Hour}
		v, _ := i.of(t)
		defer run(t, v)()
		synctest.Wait()
		began := time.Now()
		var (
			wg    sync.WaitGroup
			slow  atomic.Int32
			cause atomic.Int32
		)
		for range 1000 {
			wg.Go(func() {
				if _, err := v.Authenticate(bearer(token)); goapi.Status(err) != 503 {
					cause.Add(1)
				}
				if time.Since(began) > time.Second {
					slow.Add(1)
				}
			})
		}
		wg.Wait()
		if cause.Load() != 0 || slow.Load() != 256 || time.Since(began) > 2*time.Second {
			t.Errorf("%d were not 503, %d waited, for %s; want 0, 256, 2 s", cause.Load(), slow.Load(), time.Since(began))
		}
		// Who goes away waits no longer.
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if _, err := v.Authenticate(bearer(token).WithContext(ctx)); !errors.Is(err, context.Canceled) {
			t.Errorf("Authenticate = %v, want %v", err, context.Canceled)
		}
	})
}

// TestWithoutRun has nobody who asks for the keys.
func TestWithoutRun(t *testing.T) {
	k := keys(t)
	token := k.sign(t, "EdDSA", "ed", claims(nil), nil)
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{set: k.set(t, "ed")}
		v, _ := i.of(t)
		if _, err := v.Authenticate(bearer(token)); goapi.Status(err) != 503 || i.count() != 0 {
			t.Errorf("Authenticate = %v, want 503 and nobody asked", err)
		}
	})
}

// TestInherit has a configuration change while the issuer is away.
func TestInherit(t *testing.T) {
	k := keys(t)
	token := k.sign(t, "EdDSA", "ed", claims(nil), nil)
	away := &issuer{err: errors.New("no route to host")}
	synctest.Test(t, func(t *testing.T) {
		old, _ := (&issuer{set: k.set(t, "ed")}).of(t)
		end := run(t, old)
		synctest.Wait()
		v, _ := away.of(t)
		v.Inherit(old)
		end()
		defer run(t, v)()
		synctest.Wait()
		check(t, v, token, "alice", "")
		elsewhere := verifier(t, jwt.Options{Algorithms: []string{"EdDSA"}, JWKS: "https://issuer.example/others", Transport: away})
		elsewhere.Inherit(old)
		if _, err := elsewhere.Authenticate(bearer(token)); goapi.Status(err) != 503 {
			t.Errorf("keys of another URL: %v, want 503", err)
		}
		given := verifier(t, jwt.Options{Algorithms: []string{"EdDSA"}, Keys: k.publicPEM(t, "ed")})
		given.Inherit(old)
		check(t, given, token, "alice", "")
	})
}

// TestRemembered has tokens that end while they are remembered.
func TestRemembered(t *testing.T) {
	k := keys(t)
	end := time.Date(2000, 1, 1, 0, 10, 0, 0, time.UTC) // ten minutes of the fake clock
	token := k.sign(t, "EdDSA", "ed", claims(map[string]any{"exp": end.Unix()}), nil)
	synctest.Test(t, func(t *testing.T) {
		for _, size := range []int{0, 1, -1} {
			v := verifier(t, jwt.Options{Algorithms: []string{"EdDSA"}, Keys: k.publicPEM(t, "ed"), Cache: size, Skew: 10 * time.Second})
			check(t, v, token, "alice", "")
		}
		v := verifier(t, jwt.Options{Algorithms: []string{"EdDSA"}, Keys: k.publicPEM(t, "ed"), Skew: 10 * time.Second})
		check(t, v, token, "alice", "")
		time.Sleep(10*time.Minute + 9*time.Second)
		check(t, v, token, "alice", "")
		time.Sleep(2 * time.Second)
		check(t, v, token, "", "has expired")
	})
}

// TestRememberedIsTheSame says that a token is verified once, and that what is
// remembered of many is bounded and never another's.
func TestRememberedIsTheSame(t *testing.T) {
	k := keys(t)
	v := verifier(t, jwt.Options{Algorithms: []string{"HS256"}, Secret: []byte(k.secret), Cache: 64})
	var tokens [300]string
	for i := range tokens {
		tokens[i] = k.sign(t, "HS256", "secret", claims(map[string]any{"sub": fmt.Sprint(i)}), nil)
	}
	first, err := v.Authenticate(bearer(tokens[0]))
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := v.Authenticate(bearer(tokens[0])); again != first {
		t.Error("a token was verified twice")
	}
	for range 2 {
		for i, token := range tokens {
			if id, err := v.Authenticate(bearer(token)); err != nil || id.Subject != fmt.Sprint(i) {
				t.Fatalf("Authenticate(%d) = %v, %v", i, id, err)
			}
		}
	}
}

// TestRotationUnderLoad changes keys while requests come: no good token is ever
// refused, and none of a key that is gone is let in.
func TestRotationUnderLoad(t *testing.T) {
	const generations = 5
	until := map[string]any{"exp": time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).Unix()}
	var (
		jwks   [generations + 1][]byte
		tokens [generations + 1]string
	)
	for g := range jwks {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		jwks[g] = ecJWK(t, fmt.Sprint("key", g), key)
		tokens[g] = signWith(t, upstream.SigningMethodES256, key, claims(until), map[string]any{"kid": fmt.Sprint("key", g)})
	}
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{set: setOf(jwks[0], jwks[1]), slow: 100 * time.Millisecond}
		v, _ := i.of(t)
		defer run(t, v)()
		var (
			wg      sync.WaitGroup
			current atomic.Int32
			served  atomic.Int64
		)
		ctx, stop := context.WithCancel(t.Context())
		for range 4 {
			wg.Go(func() {
				for ctx.Err() == nil {
					g := current.Load()
					if _, err := v.Authenticate(bearer(tokens[g])); err != nil {
						t.Errorf("a good token of generation %d: %v", g, err)
					}
					served.Add(1)
					time.Sleep(50 * time.Millisecond)
				}
			})
		}
		for g := range generations {
			// The issuer signs with the next key at once: nobody waits for a
			// refresh. The old one is good for a while.
			i.change(setOf(jwks[g], jwks[g+1]), nil, 100*time.Millisecond)
			time.Sleep(6 * time.Second)
			current.Store(int32(g + 1))
			time.Sleep(6 * time.Minute)
			check(t, v, tokens[g], "alice", "")
			i.change(setOf(jwks[g+1]), nil, 100*time.Millisecond)
			time.Sleep(6 * time.Minute)
			check401(t, v, tokens[g])
		}
		stop()
		wg.Wait()
		if served.Load() < 10_000 {
			t.Errorf("%d requests, want more", served.Load())
		}
	})
}

func ecJWK(t *testing.T, name string, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	raw, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString
	out, err := json.Marshal(map[string]string{"kty": "EC", "crv": "P-256", "kid": name, "use": "sig", "x": text(raw[1:33]), "y": text(raw[33:])})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRunOfGivenKeysEnds(t *testing.T) {
	k := keys(t)
	run(t, verifier(t, jwt.Options{Algorithms: []string{"EdDSA"}, Keys: k.publicPEM(t, "ed")}))()
}
