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

// A Plugin is what URLs of one scheme name. Errors of its functions begin with
// the URL, less what is secret.
type Plugin[T any] struct {
	// Open connects to what a URL names. The context bounds the call; the caller
	// closes what it gets, if it is an io.Closer.
	Open func(ctx context.Context, u *url.URL) (T, error)
	// Check returns why Open would refuse a URL, as far as that shows without a
	// connection.
	Check func(u *url.URL) error
}

// Options are what plugins share. A nil *Options means all defaults.
type Options struct {
	// Conns are the connections to NATS, shared by all that use them. Its
	// embedded server is what "embedded:" names. Default: connections of their
	// own, and no embedded server.
	Conns *nats.Conns
	// Registry is where the subscribers of http+micro: are found and announced.
	// Default: none, and such a broker cannot be opened.
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

// checkMemory returns what is wrong with a URL of something in memory.
func checkMemory(u *url.URL) error {
	if u.Host != "" || u.Opaque != "" || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("%s: what is in memory takes no address and no parameters: write memory: and no more", nats.Redact(u))
	}
	return nil
}

// Open opens what a URL names with one of the known plugins. An unknown scheme
// is an error that lists the known ones; the URL's password never shows.
func Open[T any](ctx context.Context, known map[string]Plugin[T], rawURL string) (T, error) {
	var none T
	u, p, err := find(known, rawURL)
	if err != nil {
		return none, err
	}
	return p.Open(ctx, u)
}

// Check returns why Open would fail, as far as that shows without a connection:
// it opens nothing but the files that the URL names.
func Check[T any](known map[string]Plugin[T], rawURL string) error {
	u, p, err := find(known, rawURL)
	if err != nil {
		return err
	}
	return p.Check(u)
}

// find returns a URL and the plugin for its scheme.
func find[T any](known map[string]Plugin[T], rawURL string) (*url.URL, Plugin[T], error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme == "" {
		return nil, Plugin[T]{}, fmt.Errorf("%q is no URL of the form SCHEME:…; known schemes: %s", Redact(rawURL), schemes(known))
	}
	p, ok := known[u.Scheme]
	if !ok {
		return nil, Plugin[T]{}, fmt.Errorf("unknown scheme %q; known schemes: %s", u.Scheme, schemes(known))
	}
	return u, p, nil
}

// Close closes v if it is an io.Closer.
func Close(v any) error {
	if c, ok := v.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func schemes[T any](known map[string]Plugin[T]) string {
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
