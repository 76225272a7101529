package jwt_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	upstream "github.com/golang-jwt/jwt/v5"

	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/middleware/jwt"
)

func Example() {
	const secret = "a secret that nobody guesses, of 32 bytes or more"
	verifier, err := jwt.New(&jwt.Options{
		Algorithms: []string{"HS256"},
		Secret:     []byte(secret),
		Issuer:     "https://issuer.example",
		Audience:   []string{"shop"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	protect, err := middleware.Auth([]middleware.Authenticator{verifier}, &middleware.AuthOptions{
		Scopes:  []string{"orders:read"},
		Headers: map[string]string{"X-User": "subject"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	orders := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "the orders of ", r.Header.Get("X-User"))
	}))

	for _, scope := range []string{"orders:read", "orders:write"} {
		token, err := upstream.NewWithClaims(upstream.SigningMethodHS256, upstream.MapClaims{
			"iss": "https://issuer.example", "aud": "shop", "sub": "alice", "scope": scope, "exp": time.Now().Add(time.Hour).Unix(),
		}).SignedString([]byte(secret))
		if err != nil {
			fmt.Println(err)
			return
		}
		r := httptest.NewRequest(http.MethodGet, "/orders", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		orders.ServeHTTP(w, r)
		fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
	}
	// Output:
	// 200 the orders of alice
	// 403 {"id":"goapi","code":403,"detail":"the scope \"orders:read\" is needed","status":"Forbidden"}
}
