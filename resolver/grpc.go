package resolver

import (
	"net/http"
	"strings"
)

// GRPC reads a path as gRPC writes it: /pkg.Service/Method is the method
// Service.Method of the service pkg, which is all before the last dot. Servers
// of go-micro are known by such a name. Others may go by the whole first
// segment, with or without a package, and so that is the second reading:
//
//	/greeter.Greeter/Hello  greeter          Greeter.Hello
//	                        greeter.Greeter  Greeter.Hello
//	/Greeter/Hello          Greeter          Greeter.Hello
func GRPC(r *http.Request) ([]Target, error) {
	var buf [2]string
	segs, more := segments(r, buf[:0])
	if len(segs) != 2 || more || !isName(segs[0]) || !isName(segs[1]) || strings.Contains(segs[1], ".") {
		return nil, ErrNoTarget
	}
	dot := strings.LastIndexByte(segs[0], '.')
	method := segs[0][dot+1:] + "." + segs[1]
	if len(method) > maxName {
		return nil, ErrNoTarget
	}
	targets := make([]Target, 0, 2)
	if dot > 0 {
		targets = append(targets, Target{Service: segs[0][:dot], Method: method, Kind: RPC})
	}
	return append(targets, Target{Service: segs[0], Method: method, Kind: RPC}), nil
}

// WithGRPC returns a Resolver that reads requests of gRPC and gRPC-Web as GRPC
// does, which are then of the kind Relay, and all others as next does.
func WithGRPC(next Resolver) Resolver {
	return func(r *http.Request) ([]Target, error) {
		if !isGRPC(r) {
			return next(r)
		}
		targets, err := GRPC(r)
		for i := range targets {
			targets[i].Kind = Relay
		}
		return targets, err
	}
}

// isGRPC says whether a request is gRPC's or gRPC-Web's, or a browser asks
// beforehand whether it may send one: with the names of headers that no other
// protocol has, for the type of what is to come is not told.
func isGRPC(r *http.Request) bool {
	if types := r.Header["Content-Type"]; len(types) > 0 {
		kind := types[0]
		if end := strings.IndexAny(kind, "+;"); end >= 0 {
			kind = kind[:end]
		}
		switch strings.ToLower(kind) {
		case "application/grpc", "application/grpc-web", "application/grpc-web-text":
			return true
		}
		return false
	}
	for _, list := range r.Header["Access-Control-Request-Headers"] {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); strings.EqualFold(name, "X-Grpc-Web") || strings.EqualFold(name, "Grpc-Timeout") {
				return true
			}
		}
	}
	return false
}
