package tracing

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/goapi-dev/goapi"
)

// isKnown says whether HTTP knows a method.
func isKnown(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodTrace, http.MethodConnect:
		return true
	}
	return false
}

// clip returns s as a span may hold it: UTF-8, and not too long.
func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "?")
}

// protocolVersion returns the version of HTTP.
func protocolVersion(r *http.Request) string {
	switch {
	case r.ProtoMajor == 1 && r.ProtoMinor == 1:
		return "1.1"
	case r.ProtoMinor == 0 && r.ProtoMajor > 1:
		return strconv.Itoa(r.ProtoMajor)
	}
	return strconv.Itoa(r.ProtoMajor) + "." + strconv.Itoa(r.ProtoMinor)
}

// detailOf returns what a client is told of an error.
func detailOf(err error) string {
	if known, ok := errors.AsType[*goapi.Error](err); ok {
		return known.Detail
	}
	return strconv.Itoa(goapi.Status(err)) + " " + http.StatusText(goapi.Status(err))
}
