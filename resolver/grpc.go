package resolver

import (
	"net/http"
	"strings"
)

// GRPC reads a path as gRPC writes it: /greeter.Greeter/Hello is the method
// Greeter.Hello of the service greeter, which is all before the last dot.
func GRPC(r *http.Request) ([]Target, error) {
	var buf [2]string
	segs, more := segments(r, buf[:0])
	if len(segs) != 2 || more || !isName(segs[0]) || !isName(segs[1]) || strings.Contains(segs[1], ".") {
		return nil, ErrNoTarget
	}
	dot := strings.LastIndexByte(segs[0], '.')
	if dot < 0 {
		return nil, ErrNoTarget
	}
	method := segs[0][dot+1:] + "." + segs[1]
	if len(method) > maxName {
		return nil, ErrNoTarget
	}
	return []Target{{Service: segs[0][:dot], Method: method, Kind: RPC}}, nil
}
