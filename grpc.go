package goapi

import (
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strconv"
	"strings"
)

// The statuses of gRPC that stand for errors of the gateway.
const (
	grpcCanceled          = 1
	grpcInvalidArgument   = 3
	grpcDeadlineExceeded  = 4
	grpcPermissionDenied  = 7
	grpcResourceExhausted = 8
	grpcAborted           = 10
	grpcUnimplemented     = 12
	grpcInternal          = 13
	grpcUnavailable       = 14
	grpcUnauthenticated   = 16
)

// The content types of gRPC. Each may be followed by "+" and how messages are
// encoded.
const (
	typeGRPC        = "application/grpc"
	typeGRPCWeb     = "application/grpc-web"
	typeGRPCWebText = "application/grpc-web-text"
)

// GRPCStatus returns the status of gRPC that means what err's status in HTTP
// does, and the text for the client, encoded as grpc-message has it.
func GRPCStatus(err error) (code, message string) {
	e := asError(err)
	return strconv.Itoa(grpcCode(e.Code)), grpcMessage(e.Detail)
}

// grpcCode returns what an error of the gateway is in gRPC. A path that nothing
// claims is a method that there is not.
func grpcCode(status int) int {
	switch status {
	case http.StatusUnauthorized:
		return grpcUnauthenticated
	case http.StatusForbidden:
		return grpcPermissionDenied
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType,
		http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return grpcUnimplemented
	case http.StatusConflict:
		return grpcAborted
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests, http.StatusRequestHeaderFieldsTooLarge:
		return grpcResourceExhausted
	case StatusClientClosedRequest:
		return grpcCanceled
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return grpcUnavailable
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return grpcDeadlineExceeded
	}
	if status >= http.StatusInternalServerError {
		return grpcInternal
	}
	return grpcInvalidArgument
}

// grpcMessage encodes a text: what is not printable ASCII, and "%", is escaped.
func grpcMessage(text string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// writeGRPC answers a request of gRPC, or of gRPC-Web, with an error. It says
// whether r is one: gRPC is not spoken over HTTP/1.1.
func writeGRPC(w http.ResponseWriter, r *http.Request, e *Error) bool {
	contentType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	kind, _, _ := strings.Cut(contentType, "+")
	web := kind == typeGRPCWeb || kind == typeGRPCWebText
	if !web && (kind != typeGRPC || r.ProtoMajor < 2) {
		return false
	}
	code, message := GRPCStatus(e)
	h := w.Header()
	h.Set("Content-Type", contentType) // whoever asked in it understands it
	if !web {
		h.Set("Grpc-Status", code)
		h.Set("Grpc-Message", message)
		w.WriteHeader(http.StatusOK)
		return true
	}
	// In the body, which a browser shows to scripts; headers it may not.
	fields := "grpc-status: " + code + "\r\ngrpc-message: " + message + "\r\n"
	body := binary.BigEndian.AppendUint32([]byte{0x80}, uint32(len(fields))) //nolint:gosec // a line
	body = append(body, fields...)
	if kind == typeGRPCWebText {
		body = base64.StdEncoding.AppendEncode(nil, body)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) //nolint:gosec // it is no page; an error is a client that is gone
	return true
}
