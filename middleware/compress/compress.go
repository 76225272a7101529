// Package compress compresses answers with gzip and zstd, where that is safe.
//
// An answer is left as it is
//
//   - if the client does not want it compressed (Accept-Encoding, with q=0 as
//     well) or asks for a part of it (Range), or if either side forbids it
//     (Cache-Control: no-transform);
//   - if it is encoded already, is a part of something, has no body, or is
//     signed or has a digest of its bytes;
//   - if its media type is not one that shrinks, and always if it is an event
//     stream, gRPC or a connection that switches to another protocol;
//   - if it is known to be smaller than [Options.MinSize], or ends before that;
//   - if the request may be an attacker's who can watch its length; see below.
//
// What might have been compressed says so in Vary, a compressed answer has a
// weak ETag, and HEAD has the header that GET would have. What is flushed
// arrives at once, compressed: an answer of which nothing is known but that it
// comes in pieces is compressed from its first piece on. An answer that breaks
// off is not completed.
//
// # BREACH
//
// Who can make a browser send requests, with the credentials of its user and
// with words of his own in them, and can see how long the encrypted answers
// are, can guess a secret in them letter by letter, if the answers hold his
// words, too, and are compressed: what he has guessed right shrinks more. The
// gateway cannot know what is secret. So it does not compress answers to requests
// with credentials that a browser sends by itself (cookies, passwords, client
// certificates), unless the browser says that they come from a page of the same
// origin, or from the user (Sec-Fetch-Site), which a page cannot forge. Tokens
// and API keys that a page must have to send them are no such credentials.
// [Options.Credentials] turns this off.
package compress

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
)

const (
	defaultMinSize  = 1 << 10
	maxMinSize      = 1 << 20
	defaultEncoders = 64
)

// Options adjust compression. A nil *Options means all defaults.
type Options struct {
	// MinSize is the least size of a body that is compressed, in bytes.
	// Default: 1 KiB.
	MinSize int
	// Types are the media types that are compressed: "application/json", or
	// with one "*" for any text: "text/*", "*+json".
	// Default: text, JSON, XML, JavaScript, WebAssembly, SVG and fonts.
	Types []string
	// Gzip is the level of gzip, 1 (fastest) to 9; -1 is not to use it.
	// Default: 1.
	Gzip int
	// Zstd is the level of zstd, 1 (fastest) to 3; -1 is not to use it. An
	// encoder of level 3 takes 5 MiB, the others up to 2 MiB. Default: 1.
	Zstd int
	// Encoders is the most answers that are compressed well at a time, since an
	// encoder takes up to a MiB as long as its answer lasts. Beyond that gzip
	// is used in a way that needs no memory and compresses less. Default: 64.
	Encoders int
	// Credentials says that answers are compressed even if a browser may have
	// sent credentials on behalf of an attacker. Default: false.
	Credentials bool
}

// New returns a middleware that compresses answers. It is to be the innermost
// one: what lies within sees the answer as it is.
func New(opts *Options) (func(http.Handler) http.Handler, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	c := &compressor{minSize: o.MinSize, credentials: o.Credentials}
	if o.MinSize == 0 {
		c.minSize = defaultMinSize
	}
	if c.minSize < 1 || c.minSize > maxMinSize {
		return nil, fmt.Errorf("compress: a least size of %d bytes cannot be waited for: write 1 to %d", o.MinSize, maxMinSize)
	}
	var err error
	if c.encoders, err = newEncoders(&o); err != nil {
		return nil, err
	}
	types := o.Types
	if types == nil {
		types = defaultTypes()
	}
	if err := c.addTypes(types); err != nil {
		return nil, err
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !concerns(r) {
				next.ServeHTTP(w, r)
				return
			}
			cw := &writer{ResponseWriter: w, c: c, r: r}
			defer cw.abandon() // where next does not return
			next.ServeHTTP(cw, r)
			cw.finish()
		})
	}, nil
}

// defaultTypes are the media types that shrink.
func defaultTypes() []string {
	return []string{
		"text/*", "*+json", "*+xml", "*+text", "application/json", "application/json5", "application/json-seq",
		"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
		"application/xml", "application/javascript", "application/x-javascript", "application/ecmascript", "application/wasm",
		"application/yaml", "application/x-yaml", "application/toml", "application/graphql", "application/sql",
		"application/vnd.ms-fontobject", "font/ttf", "font/otf", "font/collection", "image/bmp", "image/x-icon",
	}
}

// compressor is what all requests of a route share.
type compressor struct {
	minSize     int
	exact       map[string]bool
	patterns    []pattern
	credentials bool
	encoders    *encoders
}

// pattern is a media type with any text between before and after.
type pattern struct{ before, after string }

func (c *compressor) addTypes(types []string) error {
	c.exact = make(map[string]bool, len(types))
	for _, t := range types {
		t = strings.ToLower(t)
		before, after, wild := strings.Cut(t, "*")
		switch {
		case t == "" || strings.ContainsAny(t, "; ,") || strings.Contains(after, "*") || !wild && strings.Count(t, "/") != 1:
			return fmt.Errorf("compress: %.100q is no media type: write type/subtype, with one * at most and without parameters", t)
		case never(t):
			return fmt.Errorf("compress: %s is never compressed: leave it out", t)
		case wild:
			c.patterns = append(c.patterns, pattern{before, after})
		default:
			c.exact[t] = true
		}
	}
	if len(types) == 0 {
		return errors.New("compress: no media types: write those that are to be compressed")
	}
	return nil
}

// shrinks says that a body of this Content-Type is worth the work, and may be
// delayed for it.
func (c *compressor) shrinks(contentType []string) bool {
	if len(contentType) != 1 {
		return false
	}
	t, _, _ := strings.Cut(contentType[0], ";")
	t = strings.ToLower(strings.TrimSpace(t))
	if never(t) {
		return false
	}
	return c.exact[t] || slices.ContainsFunc(c.patterns, func(p pattern) bool {
		return len(t) >= len(p.before)+len(p.after) && strings.HasPrefix(t, p.before) && strings.HasSuffix(t, p.after)
	})
}

// never says that a media type is a protocol of messages that are to arrive one
// by one, and are compressed by themselves if at all.
func never(mediaType string) bool {
	return mediaType == "text/event-stream" || strings.HasPrefix(mediaType, "application/grpc") ||
		strings.HasPrefix(mediaType, "application/connect+") || strings.HasPrefix(mediaType, "multipart/")
}

// concerns says that the answer to a request might be compressed, if not for
// this client.
func concerns(r *http.Request) bool {
	if r.Header["Upgrade"] != nil && r.ProtoMajor == 1 {
		return false
	}
	t := r.Header["Content-Type"]
	return len(t) == 0 || !strings.HasPrefix(t[0], "application/grpc")
}

// wanted returns the codings that the client takes for this answer.
func (c *compressor) wanted(r *http.Request) codings {
	if r.Header["Range"] != nil || forbids(r.Header["Cache-Control"]) || !c.credentials && isExposed(r) {
		return codings{}
	}
	return c.encoders.known(accepted(r.Header["Accept-Encoding"]))
}

// forbids says that a Cache-Control header wants bodies as they are.
func forbids(cacheControl []string) bool {
	for _, list := range cacheControl {
		for directive := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(directive), "no-transform") {
				return true
			}
		}
	}
	return false
}

// isExposed says that a browser may have added credentials to a request that a
// page of somebody else has made.
func isExposed(r *http.Request) bool {
	if site := r.Header["Sec-Fetch-Site"]; len(site) == 1 && (site[0] == "same-origin" || site[0] == "none") {
		return false
	}
	if r.Header["Cookie"] != nil || r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return true
	}
	for _, credentials := range r.Header["Authorization"] {
		if scheme, _, _ := strings.Cut(credentials, " "); !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "ApiKey") {
			return true
		}
	}
	ex := goapi.ExchangeFrom(r.Context()) // credentials are taken off the request once they are verified
	return ex != nil && ex.Identity != nil && (ex.Identity.Method == "basic" || ex.Identity.Method == "mtls")
}
