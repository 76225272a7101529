package jwt

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

const (
	// maxKeys bounds a set.
	maxKeys = 100
	// maxTries bounds how many keys a token without a key's name is tried with.
	maxTries = 8
	// The sizes of RSA keys, in bits.
	minRSA, maxRSA = 2048, 8192
)

// checkAlgorithm returns why no token may be signed with an algorithm, or nil.
func checkAlgorithm(name string, secret bool) error {
	known := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	if secret {
		known = []string{"HS256", "HS384", "HS512"}
	}
	switch {
	case slices.Contains(known, name):
		return nil
	case secret:
		return fmt.Errorf("the algorithm %q does not go with a secret: write %s", name, strings.Join(known, ", "))
	case strings.HasPrefix(name, "HS"):
		return fmt.Errorf("the algorithm %q needs a secret: give one, or write %s", name, strings.Join(known, ", "))
	}
	return fmt.Errorf("the algorithm %q is not served: write %s", name, strings.Join(known, ", "))
}

// A key verifies signatures.
type key struct {
	id        string // empty fits tokens that name any key
	algorithm string // empty is any that goes with the kind of key
	material  any    // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or []byte
}

// fits says that a token that names a key and an algorithm may be signed by k.
func (k *key) fits(id, algorithm string) bool {
	return (k.id == "" || id == "" || k.id == id) &&
		(k.algorithm == "" || k.algorithm == algorithm) && k.signs(algorithm)
}

// signs says that an algorithm goes with the kind of key: this keeps a public
// key from being taken for a secret, and a curve for another.
func (k *key) signs(algorithm string) bool {
	switch m := k.material.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		switch m.Params().BitSize {
		case 256:
			return algorithm == "ES256"
		case 384:
			return algorithm == "ES384"
		case 521:
			return algorithm == "ES512"
		}
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	case []byte:
		return strings.HasPrefix(algorithm, "HS")
	}
	return false
}

func (k *key) equal(other *key) bool {
	public, ok := k.material.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && k.id == other.id && k.algorithm == other.algorithm && public.Equal(other.material)
}

// A keySet is the keys of an issuer. Shared: read-only.
type keySet struct{ keys []key }

// equal says that two sets hold the same keys.
func (s *keySet) equal(other *keySet) bool {
	return slices.EqualFunc(s.keys, other.keys, func(a, b key) bool { return a.equal(&b) })
}

// candidates returns the keys that may have signed a token.
func (s *keySet) candidates(id, algorithm string) (jwt.VerificationKeySet, error) {
	var set jwt.VerificationKeySet
	for i := range s.keys {
		if s.keys[i].fits(id, algorithm) {
			set.Keys = append(set.Keys, s.keys[i].material)
		}
	}
	switch {
	case len(set.Keys) == 0:
		return set, errUnknownKey
	case len(set.Keys) > maxTries:
		return set, errNoKeyID
	}
	return set, nil
}

// serve says that at least one key goes with one of the algorithms.
func (s *keySet) serve(algorithms []string) bool {
	return slices.ContainsFunc(s.keys, func(k key) bool {
		return slices.ContainsFunc(algorithms, func(a string) bool { return k.fits("", a) })
	})
}

// newKeySet returns a set in an order of its own.
func newKeySet(keys []key) (*keySet, error) {
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("there are %d keys; at most %d are taken", len(keys), maxKeys)
	}
	slices.SortStableFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.algorithm, b.algorithm))
	})
	return &keySet{keys: keys}, nil
}

var errOtherUse = errors.New("it is not for verifying signatures")

// decodeSet reads a JWK set. Keys that cannot be used are left out, and the
// second value says why; those that are for something else are left out alone.
func decodeSet(raw []byte) (*keySet, []error, error) {
	var set struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, nil, errors.New("it is no JSON")
	}
	if set.Keys == nil {
		return nil, nil, errors.New(`it is no JWK set: it has no "keys"`)
	}
	if len(*set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("there are %d keys; at most %d are taken", len(*set.Keys), maxKeys)
	}
	var (
		keys    []key
		skipped []error
	)
	for i, one := range *set.Keys {
		k, err := decodeJWK(one)
		if errors.Is(err, errOtherUse) {
			continue
		}
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d: %w", i+1, err))
			continue
		}
		keys = append(keys, k)
	}
	s, err := newKeySet(keys)
	return s, skipped, err
}

// decodeJWK reads one public key for signatures.
func decodeJWK(raw []byte) (key, error) {
	var m jwkset.JWKMarshal
	if err := json.Unmarshal(raw, &m); err != nil {
		return key{}, errors.New("it is no JWK")
	}
	switch {
	case m.KTY == jwkset.KtyOct:
		return key{}, errors.New("it is a secret, which no public set may hold")
	case m.D != "":
		return key{}, errors.New("it is a private key, which everybody can read: replace it")
	case m.USE != "" && m.USE != jwkset.UseSig:
		return key{}, errOtherUse
	case len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify):
		return key{}, errOtherUse
	}
	jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return key{}, fmt.Errorf("it is not valid: %s", strings.ReplaceAll(err.Error(), "\n", ": "))
	}
	k := key{id: m.KID, algorithm: string(m.ALG), material: jwk.Key()}
	if err := k.check(); err != nil {
		return key{}, err
	}
	return k, nil
}

// check returns why a key is not to be used, or nil.
func (k *key) check() error {
	switch m := k.material.(type) {
	case *rsa.PublicKey:
		if bits := m.N.BitLen(); bits < minRSA || bits > maxRSA {
			return fmt.Errorf("it is an RSA key of %d bits: want %d to %d", bits, minRSA, maxRSA)
		}
		return nil
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("it is a %T, which signs no tokens", k.material)
}

// decodeKeys reads keys that an operator gave: PEM, a JWK, or a JWK set. Here a
// key that cannot be used is an error.
func decodeKeys(raw []byte) (*keySet, error) {
	raw = bytes.TrimSpace(raw)
	if !bytes.HasPrefix(raw, []byte("{")) {
		return decodePEM(raw)
	}
	var kind struct {
		KTY string `json:"kty"`
	}
	if json.Unmarshal(raw, &kind) == nil && kind.KTY != "" {
		k, err := decodeJWK(raw)
		if err != nil {
			return nil, fmt.Errorf("the key: %w", err)
		}
		return newKeySet([]key{k})
	}
	set, skipped, err := decodeSet(raw)
	if err == nil && len(skipped) > 0 {
		err = skipped[0]
	}
	if err != nil {
		return nil, fmt.Errorf("the keys: %w", err)
	}
	return set, nil
}

// decodePEM reads public keys and certificates.
func decodePEM(raw []byte) (*keySet, error) {
	var keys []key
	for len(raw) > 0 {
		block, rest := pem.Decode(raw)
		if block == nil {
			return nil, errors.New("the keys are neither PEM nor JSON: give public keys in PEM, or a JWK set")
		}
		raw = bytes.TrimSpace(rest)
		k, err := decodeBlock(block)
		if err == nil {
			err = k.check()
		}
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", len(keys)+1, err)
		}
		keys = append(keys, k)
	}
	return newKeySet(keys)
}

func decodeBlock(block *pem.Block) (key, error) {
	switch {
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return key{}, errors.New("it is a private key: give the public one, as openssl pkey -pubout prints it")
	case block.Type == "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return key{}, errors.New("it is a damaged certificate")
		}
		return key{material: c.PublicKey}, nil
	case block.Type == "RSA PUBLIC KEY":
		public, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return key{}, errors.New("it is damaged")
		}
		return key{material: public}, nil
	case block.Type == "PUBLIC KEY":
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return key{}, errors.New("it is damaged")
		}
		return key{material: public}, nil
	}
	return key{}, fmt.Errorf("it is a %q: want a PUBLIC KEY or a CERTIFICATE", block.Type)
}
