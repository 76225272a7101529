package mucp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi/internal/mucp"
)

func TestFamilyOf(t *testing.T) {
	tests := []struct {
		contentType string
		want        mucp.Family
	}{
		{"application/json", mucp.FamilyJSON},
		{"Application/JSON; charset=utf-8", mucp.FamilyJSON},
		{"application/json-rpc", mucp.FamilyJSON},
		{"application/grpc+json", mucp.FamilyJSON},
		{"application/protobuf", mucp.FamilyProtobuf},
		{"application/x-protobuf", mucp.FamilyProtobuf},
		{"application/proto-rpc", mucp.FamilyProtobuf},
		{"application/octet-stream", mucp.FamilyProtobuf},
		{"application/grpc", mucp.FamilyProtobuf},
		{"application/grpc+proto", mucp.FamilyProtobuf},
		{"text/plain", mucp.Unknown},
		{"", mucp.Unknown},
	}
	for _, tt := range tests {
		t.Run(tt.contentType, func(t *testing.T) {
			if got := mucp.FamilyOf(tt.contentType); got != tt.want {
				t.Errorf("FamilyOf(%q) = %d, want %d", tt.contentType, got, tt.want)
			}
		})
	}
}

// Bodies from the wire, and what they hold.
var ( // read-only
	protoRequest = []byte("\x00\x00\x00\x0f\n\rGreeter.Hello\x00\x00\x00\x11\n\x04john\x10\x070\x81\x80\x80\x80\x80\x80\x80\x10")
	protoSecond  = []byte("\x00\x00\x00\x18\n\rGreeter.Hello\x11\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x06\n\x04john")
	protoAnswer  = []byte("\x00\x00\x00\x00\x00\x00\x00\x15\n\nHello john\x10\x81\x80\x80\x80\x80\x80\x80\x10")
)

func TestDecodeRequest(t *testing.T) {
	tests := []struct {
		name, contentType, body string
		want                    mucp.Frame
	}{
		{"json", mucp.JSON, `{"a":1}`, mucp.Frame{Message: []byte(`{"a":1}`)}},
		{"protobuf", mucp.Protobuf, "\n\x04john", mucp.Frame{Message: []byte("\n\x04john")}},
		{
			"json-rpc", mucp.JSONRPC, `{"params":[{"name":"john","big":9007199254740993}],"id":"0","method":"Greeter.Hello"}` + "\n",
			mucp.Frame{ID: "0", Method: "Greeter.Hello", Message: []byte(`{"name":"john","big":9007199254740993}`)},
		},
		{"json-rpc number id", mucp.JSONRPC, `{"id":1,"method":"A.B","params":[1]}`, mucp.Frame{ID: "1", Method: "A.B", Message: []byte("1")}},
		{"json-rpc null id", mucp.JSONRPC, `{"id":null,"method":"A.B","params":[]}`, mucp.Frame{Method: "A.B"}},
		{"json-rpc of a plain message", mucp.JSONRPC, `{"name":"curl"}`, mucp.Frame{}},
		{
			"proto-rpc", mucp.ProtoRPC, string(protoRequest),
			mucp.Frame{ID: "0", Method: "Greeter.Hello", Message: protoRequest[23:]},
		},
		{"proto-rpc with id", mucp.ProtoRPC, string(protoSecond), mucp.Frame{ID: "1", Method: "Greeter.Hello", Message: []byte("\n\x04john")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mucp.DecodeRequest(tt.contentType, []byte(tt.body))
			if err != nil {
				t.Fatalf("DecodeRequest error = %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("DecodeRequest (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeResponse(t *testing.T) {
	tests := []struct {
		name, contentType, body string
		want                    mucp.Frame
	}{
		{"json", mucp.JSON, "{}\n", mucp.Frame{Message: []byte("{}\n")}},
		{"json-rpc", mucp.JSONRPC, `{"id":"0","result":{"message":"Hello"},"error":null}` + "\n", mucp.Frame{ID: "0", Message: []byte(`{"message":"Hello"}`)}},
		{"json-rpc error", mucp.JSONRPC, `{"id":"","result":null,"error":"rpc: can't find service X"}`, mucp.Frame{Error: "rpc: can't find service X"}},
		{"json-rpc empty error", mucp.JSONRPC, `{"id":"1","result":{},"error":""}`, mucp.Frame{ID: "1", Message: []byte("{}")}},
		{"proto-rpc", mucp.ProtoRPC, string(protoAnswer), mucp.Frame{ID: "0", Message: protoAnswer[8:]}},
		{"proto-rpc error alone", mucp.ProtoRPC, "\x00\x00\x00\x03\x1a\x01e", mucp.Frame{ID: "0", Error: "e"}},
		{"proto-rpc unknown fields", mucp.ProtoRPC, "\x00\x00\x00\x05\x20\x01\x2a\x01x\x00\x00\x00\x00", mucp.Frame{ID: "0", Message: []byte{}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mucp.DecodeResponse(tt.contentType, []byte(tt.body))
			if err != nil {
				t.Fatalf("DecodeResponse error = %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("DecodeResponse (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeMalformed(t *testing.T) {
	tests := []struct {
		name, contentType, body string
		want                    error
	}{
		{"json-rpc empty", mucp.JSONRPC, "", mucp.ErrFrame},
		{"json-rpc text", mucp.JSONRPC, "not json", mucp.ErrFrame},
		{"json-rpc id object", mucp.JSONRPC, `{"id":{}}`, mucp.ErrFrame},
		{"json-rpc array", mucp.JSONRPC, `[]`, mucp.ErrFrame},
		{"proto-rpc empty", mucp.ProtoRPC, "", mucp.ErrFrame},
		{"proto-rpc short length", mucp.ProtoRPC, "\x00\x00\x00", mucp.ErrFrame},
		{"proto-rpc huge length", mucp.ProtoRPC, "\xff\xff\xff\xff\n", mucp.ErrFrame},
		{"proto-rpc short second", mucp.ProtoRPC, "\x00\x00\x00\x00\x00\x00\x00\x05abc", mucp.ErrFrame},
		{"proto-rpc bytes after", mucp.ProtoRPC, string(protoAnswer) + "x", mucp.ErrFrame},
		{"proto-rpc bad tag", mucp.ProtoRPC, "\x00\x00\x00\x01\xff\x00\x00\x00\x00", mucp.ErrFrame},
		{"proto-rpc bad string", mucp.ProtoRPC, "\x00\x00\x00\x02\x0a\x05\x00\x00\x00\x00", mucp.ErrFrame},
		{"text", "text/plain", "x", mucp.ErrContentType},
		{"parameters", "application/json; charset=utf-8", "{}", mucp.ErrContentType},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if f, err := mucp.DecodeRequest(tt.contentType, []byte(tt.body)); !errors.Is(err, tt.want) {
				t.Errorf("DecodeRequest = %v, %v, want %v", f, err, tt.want)
			}
			if f, err := mucp.DecodeResponse(tt.contentType, []byte(tt.body)); !errors.Is(err, tt.want) {
				t.Errorf("DecodeResponse = %v, %v, want %v", f, err, tt.want)
			}
		})
	}
}

func TestEncodeAsRecorded(t *testing.T) {
	message := protoRequest[23:]
	got, err := mucp.EncodeRequest(mucp.ProtoRPC, mucp.Frame{ID: "0", Method: "Greeter.Hello", Message: message})
	if err != nil || !bytes.Equal(got, protoRequest) {
		t.Errorf("EncodeRequest(proto-rpc) = %q, %v, want %q", got, err, protoRequest)
	}
	got, err = mucp.EncodeResponse(mucp.ProtoRPC, mucp.Frame{ID: "0", Message: protoAnswer[8:]})
	if err != nil || !bytes.Equal(got, protoAnswer) {
		t.Errorf("EncodeResponse(proto-rpc) = %q, %v, want %q", got, err, protoAnswer)
	}
	got, err = mucp.EncodeRequest(mucp.JSONRPC, mucp.Frame{ID: "0", Method: "Greeter.Hello"})
	if want := `{"id":"0","method":"Greeter.Hello","params":[{}]}`; err != nil || string(got) != want {
		t.Errorf("EncodeRequest(json-rpc) = %s, %v, want %s", got, err, want)
	}
	got, err = mucp.EncodeResponse(mucp.JSONRPC, mucp.Frame{ID: "0", Error: "no", Message: []byte("{}")})
	if want := `{"id":"0","result":null,"error":"no"}`; err != nil || string(got) != want {
		t.Errorf("EncodeResponse(json-rpc) = %s, %v, want %s", got, err, want)
	}
}

func TestEncodeRefuses(t *testing.T) {
	tests := []struct {
		name, contentType, message string
		want                       error
	}{
		{"json-rpc of no JSON", mucp.JSONRPC, `{"a":1},{"b":2}`, mucp.ErrFrame},
		{"octet-stream", "application/octet-stream", "x", mucp.ErrContentType},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := mucp.Frame{Message: []byte(tt.message)}
			if b, err := mucp.EncodeRequest(tt.contentType, f); !errors.Is(err, tt.want) {
				t.Errorf("EncodeRequest = %s, %v, want %v", b, err, tt.want)
			}
			if b, err := mucp.EncodeResponse(tt.contentType, f); !errors.Is(err, tt.want) {
				t.Errorf("EncodeResponse = %s, %v, want %v", b, err, tt.want)
			}
		})
	}
}

// What was read is written, and reads as the same again.
func FuzzFrame(f *testing.F) {
	for _, seed := range [][]byte{
		protoRequest, protoSecond, protoAnswer,
		[]byte(`{"params":[{"name":"john"}],"id":"0","method":"Greeter.Hello"}`),
		[]byte(`{"id":"0","result":{"message":"Hello john","big":9007199254740993},"error":null}`),
		[]byte(`{"id":1.5e3,"result":null,"error":"e"}`),
		[]byte("\x00\x00\x00\x03\x1a\x01e"),
	} {
		for i := range 4 {
			f.Add(i, seed)
		}
	}
	f.Fuzz(func(t *testing.T, i int, body []byte) {
		contentType := []string{mucp.JSON, mucp.Protobuf, mucp.JSONRPC, mucp.ProtoRPC}[uint(i)%4]
		roundTrip(t, contentType, body, mucp.DecodeRequest, mucp.EncodeRequest)
		roundTrip(t, contentType, body, mucp.DecodeResponse, mucp.EncodeResponse)
	})
}

func roundTrip(
	t *testing.T, contentType string, body []byte,
	decode func(string, []byte) (mucp.Frame, error), encode func(string, mucp.Frame) ([]byte, error),
) {
	t.Helper()
	first, err := decode(contentType, body)
	if err != nil {
		return
	}
	if contentType == mucp.ProtoRPC && first.Error != "" {
		first.Message = nil // an error leaves no room for one
	}
	encoded, err := encode(contentType, first)
	if err != nil {
		t.Fatalf("encode(%+v) error = %v", first, err)
	}
	second, err := decode(contentType, encoded)
	if err != nil {
		t.Fatalf("decode(%q) error = %v", encoded, err)
	}
	if first.ID != second.ID || first.Method != second.Method || first.Error != second.Error || !sameMessage(contentType, first.Message, second.Message) {
		t.Fatalf("decode(encode(%+v)) = %+v", first, second)
	}
}

// sameMessage compares messages; within json-rpc, spaces and escapes may
// change, and nothing is an empty message.
func sameMessage(contentType string, a, b []byte) bool {
	if contentType != mucp.JSONRPC {
		return bytes.Equal(a, b)
	}
	if len(a) == 0 {
		return string(b) == "{}" || len(b) == 0 || string(b) == "null"
	}
	return bytes.Equal(canonical(a), canonical(b))
}

func canonical(message []byte) []byte {
	var compact, escaped bytes.Buffer
	if json.Compact(&compact, message) != nil {
		return message
	}
	json.HTMLEscape(&escaped, compact.Bytes())
	return escaped.Bytes()
}
