package middleware_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware"
)

// hashOf returns what htpasswd -B writes of a password.
func hashOf(t testing.TB, password string, cost int) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(string(hash), "$2a$", "$2y$", 1)
}

func TestNewBasic(t *testing.T) {
	hash := hashOf(t, "open sesame", 4)
	costly := strings.Replace(hash, "$04$", "$13$", 1)
	tests := []struct {
		name, file string
		want       string // in the error; empty is none
	}{
		{"one", "alice:" + hash, ""},
		{"comments, empty lines, a name with spaces", "# users\n\nalice the first:" + hash + "\r\n", ""},
		{"others that write bcrypt", "alice:" + strings.Replace(hash, "$2y$", "$2b$", 1), ""},
		{"none", "# nobody\n", "there are no users"},
		{"no colon", "alice", "line 1: want name:hash"},
		{"no name", ":" + hash, "line 1: want name:hash"},
		{"twice", "alice:" + hash + "\nalice:" + hash, "line 2: alice is there already"},
		{"in the clear", "x:" + hash + "\nalice:secretsecret", "line 2: the password of alice is no bcrypt hash: run htpasswd -nB alice"},
		{"MD5", "alice:$apr1$secretsecret$x", "line 1: the password of alice is no bcrypt hash"},
		{"SHA-1", "alice:{SHA}secretsecret=", "no bcrypt hash"},
		{"crypt", "alice:$6$secretsecret", "no bcrypt hash"},
		{"the bcrypt that was wrong", "alice:" + strings.Replace(hash, "$2y$", "$2x$", 1), "no bcrypt hash"},
		{"cut short", "alice:" + hash[:40], "the bcrypt hash of alice is damaged"},
		{"too long", "alice:" + hash + "A", "the bcrypt hash of alice is damaged"},
		{"too costly", "alice:" + costly, "has cost 13, and each try would take that long; at most 12: run htpasswd -nB -C 10 alice"},
		{"not UTF-8", "al\xff:" + hash, "not UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := middleware.NewBasic(strings.NewReader(tt.file), "")
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("NewBasic error = %v, want %q", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "secretsecret") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("NewBasic error = %v: shows the password, or has several lines", err)
			}
		})
	}
}

func TestBasic(t *testing.T) {
	b := mustBasic(t, "alice:"+hashOf(t, "open: sesame", 4)+"\nzoë:"+hashOf(t, "", 4))
	tests := []struct {
		name, header string
		subject      string
		status       int // of the error; -1 is ErrNoCredentials
	}{
		{"none", "", "", -1},
		{"another scheme", "Bearer x", "", -1},
		{"right", pair("alice", "open: sesame"), "alice", 0},
		{"again", pair("alice", "open: sesame"), "alice", 0},
		{"lower case scheme", strings.Replace(pair("alice", "open: sesame"), "Basic", "basic", 1), "alice", 0},
		{"UTF-8 and an empty password", pair("zoë", ""), "zoë", 0},
		{"wrong", pair("alice", "open"), "", 401},
		{"wrong again", pair("alice", "open"), "", 401},
		{"right after wrong", pair("alice", "open: sesame"), "alice", 0},
		{"the other's", pair("alice", ""), "", 401},
		{"not known", pair("bob", "open: sesame"), "", 401},
		{"not known, again", pair("bob", "open: sesame"), "", 401},
		{"no name", pair("", "open: sesame"), "", 401},
		{"another case", pair("Alice", "open: sesame"), "", 401},
		{"no colon", "Basic " + base64.StdEncoding.EncodeToString([]byte("alice")), "", 401},
		{"no base64", "Basic ???", "", 401},
		{"base64 of URLs", "Basic " + base64.URLEncoding.EncodeToString([]byte("alice:\xff\xff\xff")), "", 401},
		{"more after it", pair("alice", "open: sesame") + ", Basic x", "", 401},
		{"a line break", pair("alice", "open: sesame\n"), "", 401},
		{"a zero byte", pair("alice\x00", "open: sesame"), "", 401},
		{"longer than bcrypt reads", pair("alice", strings.Repeat("x", 73)), "", 401},
		{"huge", pair("alice", strings.Repeat("x", 1<<16)), "", 401},
		{"empty", "Basic ", "", 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{}}
			if tt.header != "" {
				r.Header.Set("Authorization", tt.header)
			}
			id, err := b.Authenticate(r)
			checkIdentity(t, id, err, tt.subject, tt.status)
			if err != nil && strings.Contains(err.Error(), "sesame") {
				t.Errorf("error = %v: shows the password", err)
			}
		})
	}
	if got, want := b.Challenge(), `Basic realm="goapi", charset="UTF-8"`; got != want {
		t.Errorf("Challenge() = %s, want %s", got, want)
	}
}

// TestBasicForgets has what is remembered come to its end: until then a try is
// answered although no password can be checked, which is what costs.
func TestBasicForgets(t *testing.T) {
	hash := hashOf(t, "right", 4)
	tests := []struct {
		name, user, password string
		ok                   bool
		after                time.Duration
	}{
		{"right", "alice", "right", true, 5 * time.Minute},
		{"wrong", "alice", "wrong", false, time.Minute},
		{"not known", "bob", "right", false, time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := mustBasic(t, "alice:"+hash)
				gone, cancel := context.WithCancel(t.Context())
				cancel()
				// try returns whether the answer was there without a check.
				try := func() bool {
					_, err := b.Authenticate(request(gone, tt.user, tt.password))
					if errors.Is(err, context.Canceled) {
						return false
					}
					if (err == nil) != tt.ok {
						t.Errorf("Authenticate(%s, %s) = %v, want ok = %t", tt.user, tt.password, err, tt.ok)
					}
					return true
				}
				release := b.Occupy()
				if try() {
					t.Fatal("the first try was answered without a check")
				}
				for range 2 {
					release()
					timeOf(t, b, tt.user, tt.password, tt.ok)
					release = b.Occupy()
					for _, wait := range []time.Duration{0, tt.after - 1} {
						time.Sleep(wait)
						if !try() {
							t.Errorf("after %s: was checked again", wait)
						}
					}
					time.Sleep(1)
					if try() {
						t.Errorf("after %s: was remembered still", tt.after)
					}
				}
			})
		})
	}
}

// TestBasicTakesAsLongForUnknownNames compares the fastest of tries that take
// turns: what else the machine does makes some slower, and none faster.
func TestBasicTakesAsLongForUnknownNames(t *testing.T) {
	b := mustBasic(t, "alice:"+hashOf(t, "right", 9)+"\nbob:"+hashOf(t, "right", 9))
	known, unknown := time.Hour, time.Hour
	for i := range 50 {
		known = min(known, timeOf(t, b, "alice", fmt.Sprint("wrong", i), false))
		unknown = min(unknown, timeOf(t, b, "nobody", fmt.Sprint("wrong", i), false))
		if i >= 4 && unknown >= known/2 && known >= unknown/2 {
			return
		}
	}
	t.Errorf("a known name takes %s, an unknown one %s", known, unknown)
}

// TestBasicSheds has more tries than can be checked: some are answered 503 at
// once, and the others in time.
func TestBasicSheds(t *testing.T) {
	hash := hashOf(t, "right", 4)
	synctest.Test(t, func(t *testing.T) {
		b := mustBasic(t, "alice:"+hash)
		release := b.Occupy()
		var shed, done atomic.Int32
		for i := range 200 {
			go func() { // ends with its answer
				_, err := b.Authenticate(request(t.Context(), "alice", fmt.Sprint("wrong", i)))
				switch goapi.Status(err) {
				case 503:
					shed.Add(1)
				case 401:
					done.Add(1)
				}
			}()
		}
		synctest.Wait()
		if shed.Load() != 200-middleware.MaxWaiting || done.Load() != 0 {
			t.Errorf("of 200 tries %d were shed at once, %d checked, want all shed but %d", shed.Load(), done.Load(), middleware.MaxWaiting)
		}
		release()
		synctest.Wait()
		if done.Load() != middleware.MaxWaiting {
			t.Errorf("of those that waited %d were checked, want all %d", done.Load(), middleware.MaxWaiting)
		}
		if _, err := b.Authenticate(request(t.Context(), "alice", "right")); err != nil {
			t.Errorf("after the storm: %v", err)
		}
	})
}

// TestBasicWaitsNotForLong has a try whose turn does not come.
func TestBasicWaitsNotForLong(t *testing.T) {
	hash := hashOf(t, "right", 4)
	synctest.Test(t, func(t *testing.T) {
		b := mustBasic(t, "alice:"+hash)
		release := b.Occupy()
		began := time.Now()
		_, err := b.Authenticate(request(t.Context(), "alice", "right"))
		if took := time.Since(began); goapi.Status(err) != 503 || took != 2*time.Second {
			t.Errorf("Authenticate = %v after %s, want 503 after 2s", err, took)
		}
		release()
		timeOf(t, b, "alice", "right", true)
	})
}

// TestBasicEndsWithTheRequest has a client go away while it waits.
func TestBasicEndsWithTheRequest(t *testing.T) {
	hash := hashOf(t, "right", 4)
	synctest.Test(t, func(t *testing.T) {
		b := mustBasic(t, "alice:"+hash)
		release := b.Occupy()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		_, err := b.Authenticate(request(ctx, "alice", "right"))
		if took := time.Since(began); !errors.Is(err, context.Canceled) || took != time.Second {
			t.Errorf("Authenticate = %v after %s, want %v after 1s", err, took, context.Canceled)
		}
		release()
		timeOf(t, b, "alice", "right", true)
	})
}

func BenchmarkBasic(b *testing.B) {
	basic := mustBasic(b, "alice:"+hashOf(b, "right", 10))
	r := request(b.Context(), "alice", "right")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := basic.Authenticate(r); err != nil {
			b.Fatal(err)
		}
	}
}

func mustBasic(t testing.TB, lines string) *middleware.Basic {
	t.Helper()
	b, err := middleware.NewBasic(strings.NewReader(lines), "")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func pair(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

func request(ctx context.Context, name, password string) *http.Request {
	r := &http.Request{Header: http.Header{"Authorization": {pair(name, password)}}}
	return r.WithContext(ctx)
}

// timeOf returns how long a try takes.
func timeOf(t *testing.T, b *middleware.Basic, name, password string, ok bool) time.Duration {
	t.Helper()
	r := request(t.Context(), name, password)
	began := time.Now()
	_, err := b.Authenticate(r)
	took := time.Since(began)
	if (err == nil) != ok {
		t.Errorf("Authenticate(%s, %s) = %v, want ok = %t", name, password, err, ok)
	}
	return took
}
