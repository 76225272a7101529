// Package resolver finds the service and the method of a request that no route
// claims, from its path or its host alone.
//
// [Micro], [Path], [VPath], [Host], [GRPC] and [Subdomain] read a request as
// the resolvers of go-micro's API gateway did. [WithGRPC] has [GRPC] read what
// comes as gRPC, [Namespace] puts a namespace in front of what is found, and
// [ByName] is for configuration. They look at nothing but the request: whether
// a service exists is the router's to say.
//
// Paths are read segment by segment, each decoded once, with one slash at the
// end ignored. What is not a plausible name is not looked for: names consist
// of ASCII letters, digits, ".", "-" and "_", neither start nor end with a
// dot, have no two dots in a row, and are at most 255 bytes long.
package resolver

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// ErrNoTarget is returned by a Resolver for a request that names no service.
var ErrNoTarget = errors.New("resolver: the request names no service")

// A Kind says how a service is meant to be reached.
type Kind int

const (
	// RPC is a call of the target's method.
	RPC Kind = iota
	// Proxy is the HTTP request as it is; the target's method is its verb.
	Proxy
	// Relay is a call that came as gRPC and goes on as gRPC, whatever handler
	// serves other calls.
	Relay
)

// String implements fmt.Stringer.
func (k Kind) String() string {
	switch k {
	case RPC:
		return "rpc"
	case Proxy:
		return "proxy"
	case Relay:
		return "relay"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// A Target is one reading of a request: a method of a service.
type Target struct {
	Service, Method string
	Kind            Kind
}

// A Resolver returns the readings of a request in order: the first whose
// service exists and fits wins. The slice is the caller's to change. There is
// at least one reading, or an error: ErrNoTarget when the request names
// nothing. A Resolver may be used concurrently.
type Resolver func(*http.Request) ([]Target, error)

// ByName returns the resolver that configuration calls name, with
// [WithGRPC]. It is nil, and no error, for "none".
func ByName(name string) (Resolver, error) {
	switch name {
	case "micro":
		return WithGRPC(Micro), nil
	case "path":
		return WithGRPC(Path), nil
	case "vpath":
		return WithGRPC(VPath), nil
	case "host":
		return WithGRPC(Host), nil
	case "grpc":
		return WithGRPC(GRPC), nil
	case "subdomain":
		return WithGRPC(Subdomain), nil
	case "none":
		return nil, nil //nolint:nilnil // as documented: none is no resolver
	}
	return nil, fmt.Errorf("resolver: unknown resolver %q; use micro, path, vpath, host, grpc, subdomain or none", name)
}

// Namespace returns a Resolver that joins ns with the name of each service
// that next finds, as [Join] does.
func Namespace(ns string, next Resolver) Resolver {
	ns = strings.TrimSpace(ns)
	if ns == "" {
		return next
	}
	return func(r *http.Request) ([]Target, error) {
		targets, err := next(r)
		for i := range targets {
			targets[i].Service = Join(ns, targets[i].Service)
		}
		return targets, err
	}
}

// Join returns the name of a service in a namespace. They are joined by a dot;
// a namespace that ends in a dot is a plain prefix, and one that ends in "-"
// turns every dot of the whole into "-". White space around either is dropped.
func Join(ns, name string) string {
	ns, name = strings.TrimSpace(ns), strings.TrimSpace(name)
	switch {
	case ns == "":
		return name
	case strings.HasSuffix(ns, "-"):
		return strings.ReplaceAll(ns+name, ".", "-")
	case strings.HasSuffix(ns, "."):
		return ns + name
	}
	return ns + "." + name
}
