package grpc_test

import (
	"errors"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/internal/mucp"
)

// A server that has no codec for JSON takes it for protobuf. The client did
// nothing wrong with the message, but with its type.
func TestNativeTakesNoJSON(t *testing.T) {
	n := serveNative(t)
	c := protocol{}.Caller(t, nil)
	const noJSON = "service grpc.health.v1 does not take JSON over gRPC: send application/protobuf, or gRPC"
	tests := []struct {
		contentType, body string
		code              int
		id, detail        string // no detail is any
	}{
		{mucp.JSON, "{}", 415, "goapi", noJSON},
		{mucp.JSON, `{"service":"x"}`, 415, "goapi", noJSON},
		{mucp.JSON, `{"service":"` + "grüezi" + `", "a":[1,2,3]}`, 415, "goapi", noJSON},
		{mucp.JSON, "[]", 415, "goapi", noJSON},
		{mucp.JSONRPC, "{}", 415, "goapi", noJSON},
		{mucp.Protobuf, "{}", 400, "grpc.health.v1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.contentType+" "+tt.body, func(t *testing.T) {
			_, err := c.Call(t.Context(), n, &client.Request{
				Service: "grpc.health.v1", Endpoint: "Health.Check", ContentType: tt.contentType, Body: []byte(tt.body),
			})
			e, ok := errors.AsType[*goapi.Error](err)
			if !ok || e.Code != tt.code || e.ID != tt.id || tt.detail != "" && e.Detail != tt.detail {
				t.Errorf("Call error = %v, want %d %s: %s", err, tt.code, tt.id, tt.detail)
			}
		})
	}
}

// A stream says the same.
func TestNativeStreamTakesNoJSON(t *testing.T) {
	n := serveNative(t)
	st, err := protocol{}.Caller(t, nil).(client.Streamer).Stream(t.Context(), n, &client.Request{
		Service: "grpc.health.v1", Endpoint: "Health.Watch", ContentType: mucp.JSON,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := errors.Join(st.Send([]byte("{}")), st.CloseSend()); err != nil {
		t.Fatal(err)
	}
	_, err = st.Recv()
	if e, ok := errors.AsType[*goapi.Error](err); !ok || e.Code != 415 {
		t.Errorf("Recv error = %v, want 415", err)
	}
}

// What services say of a message that they cannot read: protobuf's words for
// the wire are told from words for JSON, which go-micro's services have.
func TestUnreadMessages(t *testing.T) {
	const unmarshal = "grpc: failed to unmarshal the received message: "
	tests := []struct {
		name, text string
		code       codes.Code
		want       int
	}{
		{"protobuf", unmarshal + "proto:\u00a0cannot parse invalid wire-format data", codes.Internal, 415},
		{"protobuf of old", "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data", codes.Internal, 415},
		{"generated code", unmarshal + "proto: illegal wireType 6", codes.Internal, 415},
		{"generated code, a field", unmarshal + "proto: wrong wireType = 3 for field Name", codes.Internal, 415},
		{"first protobuf", unmarshal + "proto: can't skip unknown wire type 7 for main.Request", codes.Internal, 415},
		{"JSON, unknown field", unmarshal + "proto:\u00a0(line 1:16): unknown field \"nosuch\"", codes.Internal, 400},
		{"JSON, no JSON", unmarshal + "proto: syntax error (line 1:1): unexpected token no", codes.Internal, 400},
		{"JSON, of old", unmarshal + "invalid character 'o' in literal null (expecting 'u')", codes.Internal, 400},
		{"JSON, of v2", unmarshal + "unknown field \"nosuch\" in greeter.HelloRequest", codes.Internal, 400},
		{"a method's own", "the upstream gave invalid wire-format data", codes.Internal, 500},
		{"another status", unmarshal + "proto: cannot parse invalid wire-format data", codes.NotFound, 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := serve(t, nil, func(grpc.ServerStream) error { return status.Error(tt.code, tt.text) })
			_, err := protocol{}.Caller(t, nil).Call(t.Context(), n, request())
			if got := goapi.Status(err); err == nil || got != tt.want {
				t.Errorf("Call error = %v (%d), want %d", err, got, tt.want)
			}
		})
	}
}
