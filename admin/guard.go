package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/goapi-dev/goapi"
)

// guard is what a request must pass before the admin API sees it. The listener
// is loopback by default, which a browser on the same machine can reach: a page
// of another site must not be able to use it, by a rebound name or otherwise.
type guard struct {
	hosts map[string]bool // names, in lower case, besides IP addresses and localhost
	token func() string   // "" where none is needed
}

func newGuard(hosts []string, token func() string) *guard {
	g := &guard{hosts: map[string]bool{"localhost": true}, token: token}
	for _, h := range hosts {
		g.hosts[strings.ToLower(h)] = true
	}
	return g
}

// check returns why the request is refused, or nil.
func (g *guard) check(r *http.Request) error {
	if err := g.checkHost(r.Host); err != nil {
		return err
	}
	for name := range r.Header {
		if name == "Via" || name == "Forwarded" || strings.HasPrefix(name, "X-Forwarded-") {
			return goapi.NewError(http.StatusForbidden,
				"the admin API is not served through a proxy ("+name+" is set); talk to it directly", nil)
		}
	}
	return checkOrigin(r)
}

// checkHost refuses names that a foreign DNS server could have made up.
func (g *guard) checkHost(hostport string) error {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if g.hosts[host] {
		return nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	return goapi.NewError(http.StatusForbidden,
		fmt.Sprintf("the admin API does not answer to the host name %q; use an IP address or localhost, or start the gateway with --admin-host", clip(host)), nil)
}

// checkOrigin refuses what a browser sends on behalf of another site, reading
// included: a WebSocket or an event stream is a GET.
func checkOrigin(r *http.Request) error {
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return goapi.NewError(http.StatusForbidden, "the admin API does not answer pages of other sites", nil)
	}
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return goapi.NewError(http.StatusForbidden,
				fmt.Sprintf("the admin API does not answer pages of other sites (Origin %q)", clip(origin)), nil)
		}
	}
	return nil
}

// checkContentType refuses bodies that a page could send without asking first:
// of POST. With any other method it must ask, and is refused. Messages may be of
// any type: the origin alone must tell there.
func checkContentType(r *http.Request) error {
	if r.Method != http.MethodPost || r.URL.Path == "/broker" {
		return nil
	}
	got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && got == "application/json" {
		return nil
	}
	if err == nil && got == "application/x-www-form-urlencoded" && r.URL.Path == "/rpc" {
		return nil
	}
	return goapi.NewError(http.StatusUnsupportedMediaType, "the admin API takes Content-Type: application/json", nil)
}

// lock is what a request must pass before next sees it, besides check.
func (g *guard) lock(next http.Handler) http.Handler {
	return goapi.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if err := g.checkToken(r); err != nil {
			return err
		}
		if err := checkContentType(r); err != nil {
			return err
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

// checkToken refuses requests without the token, where one is set.
func (g *guard) checkToken(r *http.Request) error {
	token := g.token()
	if token == "" {
		return nil
	}
	got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	sum, want := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(token))
	if ok && subtle.ConstantTimeCompare(sum[:], want[:]) == 1 {
		return nil
	}
	e := goapi.NewError(http.StatusUnauthorized, "the admin API needs its token: send Authorization: Bearer TOKEN (goapi reads it from GOAPI_ADMIN_TOKEN)", nil)
	e.Header = http.Header{"Www-Authenticate": {`Bearer realm="goapi admin"`}}
	return e
}

// clip keeps what a client sent short enough to send back.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
