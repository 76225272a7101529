package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/internal/mucp"
)

// Method makes a method of a function. Messages that are generated from proto
// are read and written as JSON and as protobuf; as JSON, unknown fields are
// errors. Other types are JSON only, by encoding/json.
//
// An error that is a *goapi.Error is answered with its code, id and detail;
// without an id of its own, as of goapi.NewError, the id is the service's name.
// Any other is answered as its text. A nil answer is an empty message.
func Method[Request, Response any](f func(context.Context, *Request) (*Response, error)) Func {
	return Func{
		request:  reflect.TypeFor[*Request](),
		response: reflect.TypeFor[*Response](),
		call: func(ctx context.Context, c codec, message []byte) ([]byte, error) {
			req := new(Request)
			if err := c.decode(message, req); err != nil {
				return nil, err
			}
			res, err := f(ctx, req)
			if err != nil {
				return nil, err
			}
			if res == nil {
				res = new(Response)
			}
			return c.encode(res)
		},
	}
}

// codec reads and writes messages in the encoding of a call.
type codec struct {
	family mucp.Family
}

// decode reads a message. What is wrong with it is the caller's to know.
func (c codec) decode(b []byte, v any) error {
	m, isProto := v.(proto.Message)
	var err error
	switch {
	case c.family == mucp.FamilyProtobuf && !isProto:
		return notProtobuf()
	case c.family == mucp.FamilyProtobuf:
		err = proto.Unmarshal(b, m)
	case len(b) == 0: // as of a GET
	case isProto:
		err = protojson.Unmarshal(b, m)
	default:
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return &goapi.Error{Code: http.StatusBadRequest, Detail: fmt.Sprintf("the message cannot be read: %v", err), Cause: err}
	}
	return nil
}

// encode writes a message; JSON ends with a new line, as go-micro's does.
func (c codec) encode(v any) ([]byte, error) {
	m, isProto := v.(proto.Message)
	switch {
	case c.family == mucp.FamilyProtobuf && !isProto:
		return nil, notProtobuf()
	case c.family == mucp.FamilyProtobuf:
		return proto.Marshal(m)
	}
	var (
		b   []byte
		err error
	)
	if isProto {
		b, err = protojson.Marshal(m)
	} else {
		b, err = json.Marshal(v)
	}
	return append(b, '\n'), err
}

func notProtobuf() error {
	return &goapi.Error{Code: http.StatusUnsupportedMediaType, Detail: "this method takes JSON only; send application/json"}
}
