package handler_test

import (
	"encoding/binary"
	"net/http"
	"strings"
	"testing"
)

func TestRPCContentTypes(t *testing.T) {
	const (
		asJSON  = "application/json"
		asProto = "application/protobuf"
	)
	tests := []struct {
		contentType, body string
		sent, message     string // what the service gets
		answered          string // content type of the answer
	}{
		{"application/json", `{"name":"x"}`, asJSON, `{"name":"x"}`, asJSON},
		{"application/json; charset=utf-8", `{"name":"x"}`, asJSON, `{"name":"x"}`, asJSON},
		{"Application/JSON", `{}`, asJSON, `{}`, asJSON},
		{"application/json; charset", `{}`, asJSON, `{}`, asJSON},
		{"", `{"name":"x"}`, asJSON, `{"name":"x"}`, asJSON},
		{"", ``, asJSON, `{}`, asJSON},
		{"application/merge-patch+json", `{"a":null}`, asJSON, `{"a":null}`, asJSON},
		{"application/protobuf", "\n\x01x", asProto, "\n\x01x", asProto},
		{"application/protobuf", "", asProto, "", asProto},
		{"application/x-protobuf", "\n\x01x", asProto, "\n\x01x", "application/x-protobuf"},
		{"application/proto", "\n\x01x", asProto, "\n\x01x", "application/proto"},
		{"application/octet-stream", "\n\x01x", asProto, "\n\x01x", "application/octet-stream"},
		{"application/x-www-form-urlencoded", "name=x&age=7", asJSON, `{"age":"7","name":"x"}`, asJSON},
		{"application/x-www-form-urlencoded", "", asJSON, `{}`, asJSON},
	}
	for _, tt := range tests {
		t.Run(tt.contentType+" "+tt.body, func(t *testing.T) {
			c := &recorder{reply: `"rep"`}
			w := rpc(c, helloRoute(), post("/hello", tt.contentType, tt.body))
			if w.Code != http.StatusOK || w.Body.String() != `"rep"` {
				t.Fatalf("answer = %d %s, want 200 and the reply", w.Code, w.Body)
			}
			if got := w.Header().Get("Content-Type"); got != tt.answered {
				t.Errorf("answer's Content-Type = %q, want %q", got, tt.answered)
			}
			if got := w.Header().Get("Content-Length"); got != "5" {
				t.Errorf("answer's Content-Length = %q, want 5", got)
			}
			got := c.calls[0]
			if got.Service != "greeter" || got.Endpoint != "Greeter.Hello" || got.ContentType != tt.sent || string(got.Body) != tt.message {
				t.Errorf("called %s %s with %s %q, want greeter Greeter.Hello with %s %q",
					got.Service, got.Endpoint, got.ContentType, got.Body, tt.sent, tt.message)
			}
		})
	}
}

func TestRPCUnsupportedMediaType(t *testing.T) {
	zipped := post("/hello", "application/protobuf", "\x1f\x8b")
	zipped.Header.Set("Content-Encoding", "gzip")
	if w := rpc(answer("{}"), helloRoute(), zipped); w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("Content-Encoding gzip: answer = %d %s, want 415", w.Code, w.Body)
	}
	for _, contentType := range []string{
		"text/plain", "multipart/form-data; boundary=x", "application/grpc", "application/grpc+json", "application/xml", "json", "a/b/c", ";",
	} {
		w := rpc(answer("{}"), helloRoute(), post("/hello", contentType, "{}"))
		if w.Code != http.StatusUnsupportedMediaType || !strings.Contains(w.Body.String(), "application/protobuf") {
			t.Errorf("Content-Type %q: answer = %d %s, want 415 that lists what is taken", contentType, w.Code, w.Body)
		}
	}
}

// TestRPCReplyThatIsNotJSON: it does not get the content type of JSON.
func TestRPCReplyThatIsNotJSON(t *testing.T) {
	tests := []struct {
		contentType, reply string
		want               int
	}{
		{"application/json", `{"a":1}` + "\n", 200},
		{"application/json", ` null `, 200},
		{"application/json", `<html>`, 502},
		{"application/json", `{"a":1}{}`, 502},
		{"application/json", " ", 502},
		{"application/json", "\"\xff\"", 502},
		{"application/x-www-form-urlencoded", "x", 502},
		{"application/protobuf", "\x00\xff", 200},
	}
	for _, tt := range tests {
		w := rpc(answer(tt.reply), helloRoute(), post("/hello", tt.contentType, ""))
		if w.Code != tt.want || w.Code == http.StatusOK && w.Body.String() != tt.reply {
			t.Errorf("%s: answer to the reply %q = %d %q, want %d", tt.contentType, tt.reply, w.Code, w.Body, tt.want)
		}
		if tt.want != http.StatusOK {
			golden(t, "rpc/not-json-reply.json", w.Body.Bytes())
		}
	}
}

func TestRPCEmptyReply(t *testing.T) {
	tests := []struct {
		contentType string
		want        int
	}{
		{"application/json", 204},
		{"application/protobuf", 200},
	}
	for _, tt := range tests {
		w := rpc(answer(""), helloRoute(), post("/hello", tt.contentType, ""))
		if w.Code != tt.want || w.Body.Len() != 0 {
			t.Errorf("%s: answer = %d %q, want %d and nothing", tt.contentType, w.Code, w.Body, tt.want)
		}
	}
}

func TestRPCFramed(t *testing.T) {
	tests := []struct {
		name, contentType, body string
		message, reply, want    string
	}{
		{
			"json-rpc", "application/json-rpc", `{"params":[{"name":"john"}],"id":"0","method":"Greeter.Hello"}`,
			`{"name":"john"}`, `{"message":"Hello"}` + "\n", `{"id":"0","result":{"message":"Hello"},"error":null}` + "\n",
		},
		{
			"json-rpc keeps the id as it is", "application/json-rpc", `{"params":{"name":"john"},"id":12345678901234567890}`,
			`{"name":"john"}`, `1`, `{"id":12345678901234567890,"result":1,"error":null}` + "\n",
		},
		{
			"json-rpc without params", "application/json-rpc", `{"method":"Greeter.Hello","params":[]}`,
			`{}`, ``, `{"id":null,"result":null,"error":null}` + "\n",
		},
		{
			"proto-rpc", "application/proto-rpc", frames("\n\rGreeter.Hello\x11\x07\x00\x00\x00\x00\x00\x00\x00", "\n\x04john"),
			"\n\x04john", "\n\x05Hello", frames("\n\rGreeter.Hello\x11\x07\x00\x00\x00\x00\x00\x00\x00", "\n\x05Hello"),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &recorder{reply: tt.reply}
			w := rpc(c, helloRoute(), post("/hello", tt.contentType, tt.body))
			if w.Code != http.StatusOK || w.Body.String() != tt.want || w.Header().Get("Content-Type") != tt.contentType {
				t.Fatalf("answer = %d %q, want 200 %q", w.Code, w.Body, tt.want)
			}
			if got := string(c.calls[0].Body); got != tt.message {
				t.Errorf("message = %q, want %q", got, tt.message)
			}
		})
	}
}

func TestRPCBadFrames(t *testing.T) {
	tests := []struct {
		name, contentType, body, reply string
		want                           int
	}{
		{"json-rpc empty", "application/json-rpc", ``, `{}`, 400},
		{"json-rpc not JSON", "application/json-rpc", `{`, `{}`, 400},
		{"json-rpc no object", "application/json-rpc", `[]`, `{}`, 400},
		{"json-rpc two params", "application/json-rpc", `{"params":[{},{}]}`, `{}`, 400},
		{"json-rpc bad reply", "application/json-rpc", `{"params":[{}]}`, `{`, 502},
		{"proto-rpc empty", "application/proto-rpc", ``, ``, 400},
		{"proto-rpc short", "application/proto-rpc", "\x00\x00\xff\xff", ``, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if w := rpc(answer(tt.reply), helloRoute(), post("/hello", tt.contentType, tt.body)); w.Code != tt.want {
				t.Errorf("answer = %d %s, want %d", w.Code, w.Body, tt.want)
			}
		})
	}
}

// frames returns the frames of proto-rpc.
func frames(parts ...string) string {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return string(b)
}
