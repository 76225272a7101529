// Package registry describes services and where they run, and defines how the
// gateway learns of them.
//
// [Memory] keeps services in this process, [Multi] reads several registries as
// one, [Steady] keeps what a registry last said, [Lazy] opens one when it can be
// reached, and [Diff] tells what changed between two states. A [Reporter] tells
// what is left out of a state. Sub-packages speak to other systems and are named
// after them. Every implementation passes the suite in package registrytest.
package registry

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound is returned by Get when no node of the service is registered.
	ErrNotFound = errors.New("registry: service not found")
	// ErrUnavailable is returned when the system behind a registry cannot be
	// reached. A [Watcher] returns it once for each loss of contact.
	ErrUnavailable = errors.New("registry: unavailable")
	// ErrClosed is returned by a watcher or registry that was closed.
	ErrClosed = errors.New("registry: closed")
	// ErrReadOnly is returned by the Writer of a registry that is not written
	// through it.
	ErrReadOnly = errors.New("registry: it cannot be written")
	// ErrTooLarge is returned by Register for a record that the system behind
	// the registry cannot hold.
	ErrTooLarge = errors.New("registry: record too large")
)

// A Service is one version of a service, as its nodes announce it. What a
// registry hands out is shared: read-only.
//
// Nodes of one version that announce different endpoints or metadata are
// described by two Services of equal name and version.
type Service struct {
	Name      string            `json:"name"`
	Version   string            `json:"version"`
	Metadata  map[string]string `json:"metadata"`
	Endpoints []*Endpoint       `json:"endpoints"`
	Nodes     []*Node           `json:"nodes"`
}

// A Node is one running instance of a service.
type Node struct {
	// ID is unique among the nodes of a service.
	ID string `json:"id"`
	// Address is host:port; an IPv6 host stands in brackets.
	Address string `json:"address"`
	// Metadata says how to talk to the node: protocol, secure, scheme and what
	// the service adds.
	Metadata map[string]string `json:"metadata"`
}

// MetaHeld is the key of the metadata of nodes that a [Steady] holds back, though
// its source does not have them any more. Who cannot send a request twice takes
// another node, if there is one.
const MetaHeld = "held"

// An Endpoint is a method of a service. Its metadata says how it appears over
// HTTP.
type Endpoint struct {
	Name     string            `json:"name"`
	Request  *Value            `json:"request"`
	Response *Value            `json:"response"`
	Metadata map[string]string `json:"metadata"`
}

// A Value describes a message or one of its fields: its name, the name of its
// Go type, and the fields within.
type Value struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Values []*Value `json:"values"`
}

// A Reader finds services, whose lists hold no nil. It may be used concurrently.
type Reader interface {
	// Get returns every version of the named service, or ErrNotFound.
	Get(ctx context.Context, name string) ([]*Service, error)
	// List returns every service, ordered by name, then version; a [Multi]
	// returns those of its first member so, then those of the next. It is nil
	// or empty when there is none.
	List(ctx context.Context) ([]*Service, error)
	// Watch returns a Watcher that starts with the complete state. The context
	// bounds the call, not the life of the watcher; the caller closes it.
	Watch(ctx context.Context) (Watcher, error)
}

// A Writer announces services. It may be used concurrently.
type Writer interface {
	// Register adds or renews the nodes of s and what they announce, in one
	// write. Nodes of the service that are not in s stay as they are. A node
	// that is not renewed within ttl disappears; ttl 0 keeps it until
	// Deregister. Renewing is the caller's job, at a third of ttl. The caller
	// may change s afterwards.
	//
	// Besides ErrUnavailable and ErrTooLarge it returns a *FieldError for a
	// service that lacks what it needs, as Validate has it, and for a negative
	// ttl.
	Register(ctx context.Context, s *Service, ttl time.Duration) error
	// Deregister removes the nodes of s, by their ids. Removing what is absent
	// is no error.
	Deregister(ctx context.Context, s *Service) error
}

// A Registry is a Reader and a Writer of the same state.
type Registry interface {
	Reader
	Writer
}

// A Reconnector is a [Writer] that tells when it has found its system again, which
// may have forgotten what was registered. It may be used concurrently.
type Reconnector interface {
	// Reconnected returns a channel that gets a value after each time that
	// contact came back, until ctx is done or the registry is closed. It is
	// never closed, and values that nobody reads are not counted.
	Reconnected(ctx context.Context) <-chan struct{}
}

// A Watcher follows the services of a registry. It is level-triggered: states
// between two calls of Next may be skipped, the latest never is. It is used by
// one goroutine at a time, except for Close.
type Watcher interface {
	// Next returns the complete state: at once on its first call, and
	// afterwards when it differs from the one last returned. It is never
	// partial, and ordered as List has it. A service that did not change is the
	// same pointer as before.
	//
	// When contact with the registry is lost, Next returns ErrUnavailable once;
	// it may be called again and resumes by itself: with the state as it is when
	// contact is back, even if that is the one last returned. It returns
	// ctx.Err() when ctx is done and ErrClosed after Close.
	Next(ctx context.Context) ([]*Service, error)
	// Close releases the watcher; a pending or later Next returns ErrClosed.
	// Closing twice is no error.
	Close() error
}

// A FieldError says which part of a service cannot be read or registered, and
// why.
type FieldError struct {
	Field  string // as in the JSON form: "nodes[0].address"
	Reason string
}

// Error implements error.
func (e *FieldError) Error() string { return "registry: " + e.Field + ": " + e.Reason }
