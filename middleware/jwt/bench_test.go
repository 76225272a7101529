package jwt_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/goapi-dev/goapi/middleware/jwt"
)

// BenchmarkRemembered guards what a caller's next request costs: less than 1 µs
// and two allocations.
func BenchmarkRemembered(b *testing.B) {
	k := keys(b)
	for _, algorithm := range []struct{ name, key string }{{"RS256", "rsa"}, {"ES256", "p256"}} {
		b.Run(algorithm.name, func(b *testing.B) {
			v := verifier(b, jwt.Options{Algorithms: []string{algorithm.name}, Keys: k.publicPEM(b, algorithm.key)})
			token := k.sign(b, algorithm.name, algorithm.key, claims(map[string]any{"scope": "read write", "email": "alice@example.org"}), nil)
			r := bearer(token)
			b.ReportMetric(float64(len(token)), "token-bytes")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Authenticate(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRememberedByMany has 1,000 callers at once.
func BenchmarkRememberedByMany(b *testing.B) {
	k := keys(b)
	v := verifier(b, jwt.Options{Algorithms: []string{"HS256"}, Secret: []byte(k.secret)})
	var requests [1000]*http.Request
	for i := range requests {
		requests[i] = bearer(k.sign(b, "HS256", "secret", claims(map[string]any{"sub": fmt.Sprint(i)}), nil))
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := v.Authenticate(requests[i%len(requests)]); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkVerified is what a token costs that is not remembered.
func BenchmarkVerified(b *testing.B) {
	k := keys(b)
	for _, algorithm := range []struct{ name, key string }{{"RS256", "rsa"}, {"ES256", "p256"}, {"EdDSA", "ed"}} {
		b.Run(algorithm.name, func(b *testing.B) {
			v := verifier(b, jwt.Options{Algorithms: []string{algorithm.name}, Keys: k.publicPEM(b, algorithm.key), Cache: -1})
			r := bearer(k.sign(b, algorithm.name, algorithm.key, claims(nil), nil))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Authenticate(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
