package handler

import (
	"net/http"
	"strings"
)

// isGRPC says that a request is gRPC's, or gRPC-Web's.
func isGRPC(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}
