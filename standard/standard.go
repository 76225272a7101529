// Package standard is the one list of plugins: it knows every room, and returns
// the constructors by the names that flags and configuration use. Nothing is
// registered globally; a program that wants fewer, or others, writes its own
// list.
package standard

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
)

// An OpenFunc connects to what a URL names. The context bounds the call; the
// caller closes what it gets, if it is an io.Closer.
type OpenFunc[T any] func(ctx context.Context, u *url.URL) (T, error)

// Options are what plugins share. A nil *Options means all defaults.
type Options struct {
	// Conns are the connections to NATS, shared by all that use them. Its
	// embedded server is what "embedded:" names. Default: connections of their
	// own, and no embedded server.
	Conns *nats.Conns
	// Registry is where the subscribers of http+micro: are found and announced.
	// Default: none, and no such broker.
	Registry registry.Registry
	// TLS and DialContext reach what a registry names, as in client.Options.
	// Default: as there.
	TLS         *tls.Config
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger is given to every plugin. Default: none.
	Logger *slog.Logger
}

func (o *Options) orDefault() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Conns == nil {
		d.Conns = &nats.Conns{Logger: d.Logger}
	}
	return d
}

// isBare says that a URL is a scheme and nothing else.
func isBare(u *url.URL) bool {
	return u.Host == "" && u.Opaque == "" && u.RawQuery == "" && strings.Trim(u.Path, "/") == ""
}

// Open opens what a URL names with one of the given constructors. An unknown
// scheme is an error that lists the known ones; the URL's password never shows.
func Open[T any](ctx context.Context, known map[string]OpenFunc[T], rawURL string) (T, error) {
	var none T
	u, open, err := find(known, rawURL)
	if err != nil {
		return none, err
	}
	v, err := open(ctx, u)
	if err != nil {
		return none, fmt.Errorf("%s: %w", nats.Redact(u), err)
	}
	return v, nil
}

// Check returns why Open could not know what a URL names. It opens nothing, so
// that what else is wrong shows only then.
func Check[T any](known map[string]OpenFunc[T], rawURL string) error {
	_, _, err := find(known, rawURL)
	return err
}

// find returns a URL and the constructor for its scheme.
func find[T any](known map[string]OpenFunc[T], rawURL string) (*url.URL, OpenFunc[T], error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme == "" {
		return nil, nil, fmt.Errorf("%q is no URL of the form SCHEME:…; known schemes: %s", Redact(rawURL), schemes(known))
	}
	open, ok := known[u.Scheme]
	if !ok {
		return nil, nil, fmt.Errorf("unknown scheme %q; known schemes: %s", u.Scheme, schemes(known))
	}
	return u, open, nil
}

// Close closes v if it is an io.Closer.
func Close(v any) error {
	if c, ok := v.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func schemes[T any](known map[string]OpenFunc[T]) string {
	names := slices.Sorted(maps.Keys(known))
	for i, name := range names {
		names[i] = name + ":"
	}
	return strings.Join(names, ", ")
}

// Redact returns a URL as logs may show it: without user and password.
func Redact(s string) string {
	if u, err := url.Parse(s); err == nil && u.Scheme != "" {
		return nats.Redact(u)
	}
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "…" + s[i:]
	}
	return s
}
