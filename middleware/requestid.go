package middleware

import (
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
)

const (
	headerRequestID = "X-Request-Id"

	// maxRequestID is the length of the longest id that is taken from a client.
	maxRequestID = 128
)

// RequestIDOptions adjust RequestID. A nil *RequestIDOptions means all defaults.
type RequestIDOptions struct {
	// Fresh makes a new id for each request. Default: the one that a request
	// brings is kept, if it may be one.
	Fresh bool
}

// RequestID returns a middleware that gives each request an id, in the header
// X-Request-Id, of which there is then one: the service gets it, and the client
// with the answer, whatever the service answers.
//
// A client may bring its own, to find its requests again: 1 to 128 characters
// of visible ASCII. It is a word of the client's, which others may use as well;
// nothing is to be decided by it. All else is replaced, and cannot be withheld
// from the service by a Connection header.
func RequestID(opts *RequestIDOptions) func(http.Handler) http.Handler {
	fresh := opts != nil && opts.Fresh
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id := requestIDOf(r.Header)
			if fresh || id == "" {
				id = newRequestID()
			}
			ids := []string{id}
			r.Header[headerRequestID] = ids
			keepOnward(r.Header, headerRequestID)
			w.Header()[headerRequestID] = ids
			next.ServeHTTP(&identified{w, ids}, r)
		})
	}
}

// requestIDOf returns the id that a header holds; empty if none, or nothing that
// may be one.
func requestIDOf(h http.Header) string {
	ids := h[headerRequestID]
	if len(ids) != 1 || ids[0] == "" || len(ids[0]) > maxRequestID {
		return ""
	}
	for i := range len(ids[0]) {
		if c := ids[0][i]; c <= ' ' || c > '~' {
			return ""
		}
	}
	return ids[0]
}

// newRequestID returns an id that no other request has. It is no secret.
func newRequestID() string {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], rand.Uint64()) //nolint:gosec // it is no secret
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // see above
	return hex.EncodeToString(id[:])
}

// keepOnward takes a name out of the Connection header: what the gateway itself
// sets is not the client's to keep from the service.
func keepOnward(h http.Header, name string) {
	for i, list := range h["Connection"] {
		if len(list) < len(name) || !names(list, name) {
			continue
		}
		var kept []string
		for option := range strings.SplitSeq(list, ",") {
			if option = strings.TrimSpace(option); !strings.EqualFold(option, name) {
				kept = append(kept, option)
			}
		}
		lists := slices.Clone(h["Connection"])
		lists[i] = strings.Join(kept, ", ")
		h["Connection"] = lists
	}
}

// names says that a list names something, in whatever case.
func names(list, name string) bool {
	for option := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSpace(option), name) {
			return true
		}
	}
	return false
}

// identified is a ResponseWriter whose answer has one id.
type identified struct {
	http.ResponseWriter

	ids []string
}

// WriteHeader implements http.ResponseWriter. A service may have answered with
// an id of its own.
func (w *identified) WriteHeader(status int) {
	w.Header()[headerRequestID] = w.ids
	w.ResponseWriter.WriteHeader(status)
}

// ReadFrom lets the writer below copy in its own way.
func (w *identified) ReadFrom(src io.Reader) (int64, error) { return io.Copy(w.ResponseWriter, src) }

// Unwrap gives a ResponseController the writer below.
func (w *identified) Unwrap() http.ResponseWriter { return w.ResponseWriter }
