package grpc

import (
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/internal/mucp"
)

// codec hands encoded messages through. Its name is the content subtype; it is
// given with each call and never registered: that would change the codec of
// everything else in the process.
type codec string

var _ encoding.CodecV2 = codec("")

const (
	codecJSON  codec = "json"
	codecProto codec = "proto"
)

var errNotBytes = errors.New("grpc: the message is not bytes")

// codecFor returns the codec for the content type of a request.
func codecFor(req *client.Request) (codec, error) {
	switch mucp.FamilyOf(req.ContentType) {
	case mucp.FamilyJSON:
		return codecJSON, nil
	case mucp.FamilyProtobuf:
		return codecProto, nil
	case mucp.Unknown:
	}
	return "", goapi.NewError(http.StatusUnsupportedMediaType,
		fmt.Sprintf("service %s is not called with the content type %q; use %s or %s", req.Service, req.ContentType, mucp.JSON, mucp.Protobuf), nil)
}

// Name implements encoding.CodecV2.
func (c codec) Name() string { return string(c) }

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, errNotBytes
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return errNotBytes
	}
	*b = data.Materialize()
	return nil
}

// copying is a codec whose messages are the sender's again at once.
type copying struct{ codec }

var _ encoding.CodecV2 = copying{}

// Marshal implements encoding.CodecV2.
func (copying) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, errNotBytes
	}
	return mem.BufferSlice{mem.Copy(b, mem.DefaultBufferPool())}, nil
}
