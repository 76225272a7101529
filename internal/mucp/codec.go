package mucp

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// The content types that every service of every version knows. They stand in
// headers without parameters.
const (
	JSON     = "application/json"
	Protobuf = "application/protobuf"
	JSONRPC  = "application/json-rpc"
	ProtoRPC = "application/proto-rpc"
)

var (
	// ErrContentType is returned for a content type that is none of the above.
	ErrContentType = errors.New("mucp: unsupported Content-Type")
	// ErrFrame is returned for bytes that are not a frame of their content type.
	ErrFrame = errors.New("mucp: malformed frame")
)

// A Family is how a message is encoded, whatever frame it stands in.
type Family int

// The families. Unknown is everything that go-micro's gateways never took for
// one of the others.
const (
	Unknown Family = iota
	FamilyJSON
	FamilyProtobuf
)

// FamilyOf returns the family of a content type; parameters are ignored.
func FamilyOf(contentType string) Family {
	switch MediaType(contentType) {
	case JSON, JSONRPC, "application/grpc+json":
		return FamilyJSON
	case Protobuf, ProtoRPC, "application/proto", "application/x-protobuf", "application/grpc",
		"application/grpc+proto", "application/octet-stream":
		return FamilyProtobuf
	}
	return Unknown
}

// MediaType returns a content type in lower case and without parameters, which
// is the only form that services accept.
func MediaType(contentType string) string {
	bare, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(bare))
}

// A Frame is what travels in a body. Only json-rpc and proto-rpc carry more
// than the message; the others leave the rest empty when read.
type Frame struct {
	// ID is the call's; proto-rpc carries it only if it is a number.
	ID string
	// Method is "Greeter.Hello"; json-rpc answers leave it out.
	Method string
	// Error is the error text of an answer. Empty is none.
	Error string
	// Message is the encoded message. The bytes are shared with the body.
	Message []byte
}

// EncodeRequest returns the body of a call.
func EncodeRequest(contentType string, f Frame) ([]byte, error) {
	switch contentType {
	case JSON, Protobuf:
		return f.Message, nil
	case JSONRPC:
		message, err := rawJSON(f.Message, "{}")
		if err != nil {
			return nil, err
		}
		return json.Marshal(jsonRequest{ID: jsonID(f.ID), Method: f.Method, Params: []json.RawMessage{message}})
	case ProtoRPC:
		return appendFrames(protoHeader(f), f.Message), nil
	}
	return nil, fmt.Errorf("%w: %s", ErrContentType, contentType)
}

// DecodeRequest reads the body of a call.
func DecodeRequest(contentType string, body []byte) (Frame, error) {
	switch contentType {
	case JSON, Protobuf:
		return Frame{Message: body}, nil
	case JSONRPC:
		var r jsonRequest
		if err := json.Unmarshal(body, &r); err != nil {
			return Frame{}, fmt.Errorf("%w: %w", ErrFrame, err)
		}
		f := Frame{ID: string(r.ID), Method: r.Method}
		if len(r.Params) > 0 {
			f.Message = r.Params[0]
		}
		return f, nil
	case ProtoRPC:
		return readFrames(body)
	}
	return Frame{}, fmt.Errorf("%w: %s", ErrContentType, contentType)
}

// EncodeResponse returns the body of an answer. An error leaves no room for a
// message.
func EncodeResponse(contentType string, f Frame) ([]byte, error) {
	if f.Error != "" {
		f.Message = nil
	}
	switch contentType {
	case JSON, Protobuf:
		return f.Message, nil
	case JSONRPC:
		message, err := rawJSON(f.Message, "null")
		if err != nil {
			return nil, err
		}
		r := jsonResponse{ID: jsonID(f.ID), Result: message}
		if f.Error != "" {
			r.Error = &f.Error
		}
		return json.Marshal(r)
	case ProtoRPC:
		return appendFrames(protoHeader(f), f.Message), nil
	}
	return nil, fmt.Errorf("%w: %s", ErrContentType, contentType)
}

// DecodeResponse reads the body of an answer.
func DecodeResponse(contentType string, body []byte) (Frame, error) {
	switch contentType {
	case JSON, Protobuf:
		return Frame{Message: body}, nil
	case JSONRPC:
		var r jsonResponse
		if err := json.Unmarshal(body, &r); err != nil {
			return Frame{}, fmt.Errorf("%w: %w", ErrFrame, err)
		}
		if r.Error != nil && *r.Error != "" {
			return Frame{ID: string(r.ID), Error: *r.Error}, nil
		}
		return Frame{ID: string(r.ID), Message: r.Result}, nil
	case ProtoRPC:
		return readFrames(body)
	}
	return Frame{}, fmt.Errorf("%w: %s", ErrContentType, contentType)
}

type jsonRequest struct {
	ID     jsonID            `json:"id"`
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
}

type jsonResponse struct {
	ID     jsonID          `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *string         `json:"error"`
}

// jsonID is written as a string, and read from a string, number or null.
type jsonID string

// UnmarshalJSON implements json.Unmarshaler.
func (id *jsonID) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*id = ""
		return nil
	}
	if b[0] == '"' {
		return json.Unmarshal(b, (*string)(id))
	}
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*id = jsonID(n)
	return nil
}

// rawJSON returns a message that may stand within other JSON.
func rawJSON(message []byte, empty string) (json.RawMessage, error) {
	message = bytes.TrimSpace(message)
	if len(message) == 0 {
		return json.RawMessage(empty), nil
	}
	if !json.Valid(message) {
		return nil, fmt.Errorf("%w: the message is not JSON", ErrFrame)
	}
	return message, nil
}

// The fields of the header message of proto-rpc: a call has the first two.
const (
	fieldMethod = 1 // string
	fieldSeq    = 2 // fixed64
	fieldError  = 3 // string
)

// frameLength is the size of the length before each frame of proto-rpc.
const frameLength = 4

// protoHeader returns the header message of proto-rpc.
func protoHeader(f Frame) []byte {
	var b []byte
	if f.Method != "" {
		b = protowire.AppendTag(b, fieldMethod, protowire.BytesType)
		b = protowire.AppendString(b, f.Method)
	}
	if seq, err := strconv.ParseUint(f.ID, 10, 64); err == nil && seq != 0 {
		b = protowire.AppendTag(b, fieldSeq, protowire.Fixed64Type)
		b = protowire.AppendFixed64(b, seq)
	}
	if f.Error != "" {
		b = protowire.AppendTag(b, fieldError, protowire.BytesType)
		b = protowire.AppendString(b, f.Error)
	}
	return b
}

// appendFrames returns header and message, each with its length before it.
func appendFrames(header, message []byte) []byte {
	b := make([]byte, 0, 2*frameLength+len(header)+len(message))
	b = binary.BigEndian.AppendUint32(b, uint32(len(header))) //nolint:gosec // bodies are bounded far below 4 GiB
	b = append(b, header...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(message))) //nolint:gosec // as above
	return append(b, message...)
}

// readFrames reads what appendFrames wrote. Services leave the second frame
// out of some errors.
func readFrames(body []byte) (Frame, error) {
	header, rest, err := nextFrame(body)
	if err != nil {
		return Frame{}, err
	}
	f, err := readProtoHeader(header)
	if err != nil || len(rest) == 0 {
		return f, err
	}
	f.Message, rest, err = nextFrame(rest)
	if err != nil {
		return Frame{}, err
	}
	if len(rest) > 0 {
		return Frame{}, fmt.Errorf("%w: %d bytes after the message", ErrFrame, len(rest))
	}
	return f, nil
}

// nextFrame cuts the first frame off b.
func nextFrame(b []byte) (frame, rest []byte, err error) {
	if len(b) < frameLength {
		return nil, nil, fmt.Errorf("%w: %d bytes where a length should be", ErrFrame, len(b))
	}
	n := uint64(binary.BigEndian.Uint32(b))
	b = b[frameLength:]
	if n > uint64(len(b)) {
		return nil, nil, fmt.Errorf("%w: a frame of %d bytes has only %d", ErrFrame, n, len(b))
	}
	return b[:n:n], b[n:], nil
}

// readProtoHeader reads the header message of proto-rpc; fields that it does
// not know are skipped.
func readProtoHeader(b []byte) (Frame, error) {
	f := Frame{ID: "0"}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return Frame{}, fmt.Errorf("%w: %w", ErrFrame, protowire.ParseError(n))
		}
		b = b[n:]
		switch {
		case num == fieldMethod && typ == protowire.BytesType:
			f.Method, n = protowire.ConsumeString(b)
		case num == fieldError && typ == protowire.BytesType:
			f.Error, n = protowire.ConsumeString(b)
		case num == fieldSeq && typ == protowire.Fixed64Type:
			var seq uint64
			seq, n = protowire.ConsumeFixed64(b)
			f.ID = strconv.FormatUint(seq, 10)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return Frame{}, fmt.Errorf("%w: %w", ErrFrame, protowire.ParseError(n))
		}
		b = b[n:]
	}
	return f, nil
}
