package grpc

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/internal/mucp"
)

// failure returns the error of a call that failed: the service's, or why there
// was no answer.
func (cl *call) failure(ctx context.Context, req *client.Request, err error) error {
	st := status.Convert(err)
	switch {
	case cl.begun.Load() && tooLarge(st) && strings.HasSuffix(st.Message(), fmt.Sprintf("vs. %d)", cl.maxReply)):
		// A service says so of a message that it gets, in numbers of its own.
		return goapi.NewError(http.StatusBadGateway, "the answer of service "+req.Service+" is too large", client.ErrReplyTooLarge)
	case cl.answered.Load() && mucp.FamilyOf(req.ContentType) == mucp.FamilyJSON && notJSON(st):
		return goapi.NewError(http.StatusUnsupportedMediaType,
			"service "+req.Service+" does not take JSON over gRPC: send application/protobuf, or gRPC", err)
	case cl.answered.Load():
		return serviceError(req.Service, st)
	case ctx.Err() != nil:
		return client.CallError(ctx, req, err)
	case st.Code() == codes.DeadlineExceeded: // a moment before the context says so
		return goapi.NewError(http.StatusGatewayTimeout, "service "+req.Service+" did not answer in time", context.DeadlineExceeded)
	case !cl.headers.Load() && st.Code() == codes.Internal && strings.Contains(st.Message(), "header list size"):
		// The service said how much it takes when it was connected to.
		return goapi.NewError(http.StatusRequestHeaderFieldsTooLarge, "the request's header is larger than service "+req.Service+" takes", err)
	case st.Code() == codes.Unavailable || !cl.headers.Load() || strings.HasPrefix(st.Message(), "stream terminated by RST_STREAM"):
		return client.CallError(ctx, req, err)
	}
	return goapi.NewError(http.StatusBadGateway, "service "+req.Service+" answered with something that is not gRPC", err)
}

// errorType is the name of go-micro's error message, in every version.
const errorType = "errors.Error"

// serviceError returns the error that a service answered with: go-micro's in
// the details or as the text, else what the status means. Unknown is what
// go-micro makes of a plain text.
func serviceError(service string, st *status.Status) error {
	for _, d := range st.Proto().GetDetails() {
		_, name, _ := strings.Cut(d.GetTypeUrl(), "/")
		if e, ok := decodeError(d.GetValue()); ok && name == errorType {
			return &goapi.Error{Code: e.HTTPStatus(), ID: cmp.Or(e.ID, service), Detail: e.Detail}
		}
	}
	if e := mucp.ParseError(st.Message()); e.Code > 0 || st.Code() == codes.Unknown {
		return &goapi.Error{Code: e.HTTPStatus(), ID: cmp.Or(e.ID, service), Detail: e.Detail}
	}
	return &goapi.Error{Code: httpStatus(st), ID: service, Detail: st.Message()}
}

// The fields of errors.Error.
const (
	fieldID     = 1 // string
	fieldCode   = 2 // int32
	fieldDetail = 3 // string
)

// decodeError reads an errors.Error.
func decodeError(b []byte) (*mucp.Error, bool) {
	e := new(mucp.Error)
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, false
		}
		b = b[n:]
		switch {
		case num == fieldID && typ == protowire.BytesType:
			e.ID, n = protowire.ConsumeString(b)
		case num == fieldCode && typ == protowire.VarintType:
			var code uint64
			code, n = protowire.ConsumeVarint(b)
			e.Code = int(int32(code)) //nolint:gosec // as protobuf reads an int32
		case num == fieldDetail && typ == protowire.BytesType:
			e.Detail, n = protowire.ConsumeString(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return nil, false
		}
		b = b[n:]
	}
	return e, true
}

// httpStatus returns the HTTP status that means what a gRPC status does.
func httpStatus(st *status.Status) int {
	switch st.Code() {
	case codes.InvalidArgument, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound:
		return http.StatusNotFound
	case codes.AlreadyExists, codes.Aborted:
		return http.StatusConflict
	case codes.FailedPrecondition:
		return http.StatusPreconditionFailed
	case codes.ResourceExhausted:
		if tooLarge(st) {
			return http.StatusRequestEntityTooLarge
		}
		return http.StatusTooManyRequests
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	case codes.Unimplemented:
		if hasPrefix(st.Message(), "unknown service", "unknown method", "Method not found") {
			return http.StatusNotFound
		}
		return http.StatusNotImplemented
	case codes.Internal:
		if unread(st) {
			return http.StatusBadRequest
		}
	case codes.OK, codes.Canceled, codes.Unknown, codes.DataLoss:
	}
	return http.StatusInternalServerError
}

// tooLarge says that grpc-go refused a message on its way in.
func tooLarge(st *status.Status) bool {
	return st.Code() == codes.ResourceExhausted && strings.HasPrefix(st.Message(), "grpc: received message larger than max")
}

// unread says that grpc-go, or go-micro, could not decode a message on its way in.
func unread(st *status.Status) bool {
	return st.Code() == codes.Internal && hasPrefix(st.Message(), "grpc: failed to unmarshal", "grpc: error unmarshalling request")
}

// notJSON says that a message was decoded as protobuf: a service that has no
// codec for JSON takes what it gets for that, and finds no field in it. What
// go-micro says of bad JSON speaks of no wire.
func notJSON(st *status.Status) bool {
	text := strings.ToLower(st.Message())
	return unread(st) && (strings.Contains(text, "wire-format") || strings.Contains(text, "wiretype") || strings.Contains(text, "wire type"))
}

func hasPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
