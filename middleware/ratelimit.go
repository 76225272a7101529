package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/ratelimit"
)

// RateKey returns the function that finds the key of a request for RateLimit:
//
//	client        the address of the client; of IPv6 its network of 64 bits
//	subject       who the request comes from, and how that was verified
//	claim:NAME    what is claimed of whom the request comes from
//	header:NAME   a header, which is as good as whoever sets it; of Host the name
//	              without port, in lower case, as hosts are compared
//	route         service and endpoint
//
// The key of a request that has no such thing is empty: it is not limited.
func RateKey(spec string) (func(*http.Request) string, error) {
	kind, name, named := strings.Cut(spec, ":")
	switch {
	case spec == "client":
		return clientKey, nil
	case spec == "subject":
		return subjectKey, nil
	case spec == "route":
		return routeKey, nil
	case kind == "claim" && name != "":
		return func(r *http.Request) string { return claimKey(r, name) }, nil
	case kind == "header" && strings.EqualFold(name, "Host"):
		return hostKey, nil
	case kind == "header" && httpguts.ValidHeaderFieldName(name):
		name = textproto.CanonicalMIMEHeaderKey(name)
		return func(r *http.Request) string { return r.Header.Get(name) }, nil
	case kind == "header" && named:
		return nil, fmt.Errorf("rate limit: %.100q is no name of a header: write header:NAME", name)
	}
	return nil, fmt.Errorf("rate limit: unknown key %.100q; known: client, subject, claim:NAME, header:NAME, route", spec)
}

// clientKey returns the address of the client. Whoever has one of IPv6 has a
// network of them.
func clientKey(r *http.Request) string {
	a := network(clientAddress(r))
	if !a.IsValid() {
		return "-" // as on a Unix socket: all of them are one
	}
	return a.String()
}

// network returns the address that stands for all that a client is likely to have.
// That of a client that nobody knows is not that of one on this machine.
func network(a netip.Addr) netip.Addr {
	if !a.Is6() || a.IsLoopback() {
		return a
	}
	p, _ := a.Prefix(64) // of IPv6: cannot fail
	return p.Addr()
}

// hostKey returns the host that a request is for, which is not in its Header.
func hostKey(r *http.Request) string {
	host := r.Host
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func subjectKey(r *http.Request) string {
	id := identity(r)
	if id == nil || id.Subject == "" {
		return ""
	}
	return id.Method + " " + id.Subject
}

func claimKey(r *http.Request, name string) string {
	id := identity(r)
	if id == nil || id.Claims[name] == nil {
		return ""
	}
	if text, ok := id.Claims[name].(string); ok {
		return text
	}
	return fmt.Sprint(id.Claims[name])
}

func routeKey(r *http.Request) string {
	rt := goapi.RouteFrom(r.Context())
	if rt == nil {
		return ""
	}
	return rt.Service + " " + rt.Endpoint.Name
}

func identity(r *http.Request) *goapi.Identity {
	if ex := goapi.ExchangeFrom(r.Context()); ex != nil {
		return ex.Identity
	}
	return nil
}

// RateLimit returns a middleware that lets as many requests of a key through as
// the limiter allows. Others are answered with 429 and Retry-After. A request
// whose key is empty is not limited.
//
// Each answer to a request that is counted says what is left, in the headers
// RateLimit-Policy and RateLimit of draft-ietf-httpapi-ratelimit-headers (as of
// its version 10), in which the policy has that name: q requests in w seconds,
// r of them are left, and in t seconds they are as many as can be. Of a request that
// is refused, t is the Retry-After. Several limits on a route add up to a list.
func RateLimit(name string, limiter ratelimit.Limiter, key func(*http.Request) string) (func(http.Handler) http.Handler, error) {
	switch {
	case name == "" || len(name) > 64 || strings.IndexFunc(name, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) >= 0:
		return nil, fmt.Errorf("rate limit: the name %.100q cannot be told to clients: write 1 to 64 letters or digits", name)
	case limiter == nil || key == nil:
		return nil, errors.New("rate limit: needs a limiter and a key")
	}
	rate := limiter.Rate()
	if err := rate.Check(); err != nil {
		return nil, fmt.Errorf("rate limit: %s: %w", name, err)
	}
	l := &rateLimit{limiter: limiter, key: key, name: `"` + name + `"`}
	l.policy = one(l.name + quota(rate))
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := l.count(w.Header(), r); err != nil {
				goapi.WriteError(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}, nil
}

// quota returns the parameters of a policy. Its window is whole seconds.
func quota(rate ratelimit.Rate) string {
	window := max(1, seconds(rate.Per))
	q := int64(rate.Requests)
	if per := time.Duration(window) * time.Second; per != rate.Per {
		q = max(1, int64(float64(q)*float64(per)/float64(rate.Per)))
	}
	return ";q=" + strconv.FormatInt(q, 10) + ";w=" + strconv.FormatInt(window, 10)
}

// seconds returns d in seconds, rounded up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// rateLimit is a limit on a route.
type rateLimit struct {
	limiter ratelimit.Limiter
	key     func(*http.Request) string
	name    string   // as a string of a structured field
	policy  []string // values that answers share

	said [256]atomic.Pointer[leftover] // by what remains
}

// leftover is the value of RateLimit for what is left.
type leftover struct {
	remaining int
	seconds   int64
	value     []string // shared by answers
}

// count counts a request. It returns why it is refused, or nil.
func (l *rateLimit) count(h http.Header, r *http.Request) error {
	key := l.key(r)
	if key == "" {
		return nil
	}
	left := l.limiter.Allow(key, time.Now())
	wait := left.Reset
	if !left.OK {
		wait = left.RetryAfter
	}
	addShared(h, "Ratelimit-Policy", l.policy)
	addShared(h, "Ratelimit", l.leftover(left.Remaining, seconds(wait)))
	if left.OK {
		return nil
	}
	retry := strconv.FormatInt(max(1, seconds(wait)), 10)
	e := goapi.NewError(http.StatusTooManyRequests, "too many requests: try again in "+retry+" s", nil)
	e.Header = http.Header{"Retry-After": {retry}}
	return e
}

// leftover returns the value of RateLimit. What was said of as many last time is
// likely to be what is to be said again.
func (l *rateLimit) leftover(remaining int, seconds int64) []string {
	place := &l.said[remaining%len(l.said)]
	if s := place.Load(); s != nil && s.remaining == remaining && s.seconds == seconds {
		return s.value
	}
	s := &leftover{remaining, seconds, one(l.name + ";r=" + strconv.Itoa(remaining) + ";t=" + strconv.FormatInt(seconds, 10))}
	place.Store(s)
	return s.value
}

// addShared adds a list of one value, which is not to be changed, to a header.
func addShared(h http.Header, name string, value []string) {
	if have := h[name]; len(have) > 0 {
		value = append(slices.Clip(have), value[0])
	}
	h[name] = value
}
