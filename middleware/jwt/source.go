package jwt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
)

// A source has the keys that tokens are verified with. It may be used
// concurrently.
type source interface {
	// current returns the keys that there are, or nil.
	current() *keySet
	// get returns the keys, which it may wait for; a *goapi.Error if there are
	// none.
	get(ctx context.Context) (*keySet, error)
	// refreshed returns keys that are newer than old, old if there are none, or
	// a *goapi.Error if that cannot be known.
	refreshed(ctx context.Context, old *keySet) (*keySet, error)
	// run keeps the keys fresh until ctx ends.
	run(ctx context.Context) error
}

// static is keys that were given.
type static struct{ keys *keySet }

var _ source = (*static)(nil)

func newStatic(o *Options) (*static, error) {
	if len(o.Secret) > 0 {
		return newSecret(o)
	}
	keys, err := decodeKeys(o.Keys)
	if err != nil {
		return nil, err
	}
	if !keys.serve(o.Algorithms) {
		return nil, fmt.Errorf("none of the keys goes with the algorithms %q: write those of the keys", o.Algorithms)
	}
	return &static{keys: keys}, nil
}

// newSecret returns a secret that is at least as long as what it signs with.
func newSecret(o *Options) (*static, error) {
	secret := bytes.TrimSuffix(bytes.TrimSuffix(o.Secret, []byte("\n")), []byte("\r"))
	need := 32
	switch {
	case slices.Contains(o.Algorithms, "HS512"):
		need = 64
	case slices.Contains(o.Algorithms, "HS384"):
		need = 48
	}
	if len(secret) < need {
		return nil, fmt.Errorf("the secret has %d bytes, and its algorithms need %d: write one with openssl rand -hex %d", len(secret), need, need/2)
	}
	if bytes.Contains(secret, []byte("-----BEGIN ")) {
		return nil, errors.New("the secret is a key in PEM: give it as keys")
	}
	return &static{keys: &keySet{keys: []key{{material: bytes.Clone(secret)}}}}, nil
}

func (s *static) current() *keySet { return s.keys }

func (s *static) get(context.Context) (*keySet, error) { return s.keys, nil }

func (s *static) refreshed(context.Context, *keySet) (*keySet, error) { return s.keys, nil }

func (s *static) run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}
