package mucp_test

import (
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/internal/mucp"
)

func TestParseError(t *testing.T) {
	tests := []struct {
		name, text string
		want       mucp.Error
		status     int
	}{
		{
			"v1 to v6", `{"id":"greeter.fail","code":400,"detail":"bad name badrequest","status":"Bad Request"}`,
			mucp.Error{ID: "greeter.fail", Code: 400, Detail: "bad name badrequest"}, 400,
		},
		{"own code", `{"id":"greeter.fail","code":418,"detail":"teapot","status":"I'm a teapot"}`, mucp.Error{ID: "greeter.fail", Code: 418, Detail: "teapot"}, 418},
		{"without code", `{"id":"a","detail":"d"}`, mucp.Error{ID: "a", Detail: "d"}, 500},
		{"without detail", `{"id":"a","code":404}`, mucp.Error{ID: "a", Code: 404, Detail: "Not Found"}, 404},
		{"code 200", `{"id":"a","code":200,"detail":"d"}`, mucp.Error{ID: "a", Code: 200, Detail: "d"}, 500},
		{"code below 0", `{"id":"a","code":-404,"detail":"d"}`, mucp.Error{ID: "a", Code: -404, Detail: "d"}, 500},
		{"code too large", `{"id":"a","code":99999999999}`, mucp.Error{Detail: `{"id":"a","code":99999999999}`}, 500},
		{"JSON of another kind", `{"message":"no"}`, mucp.Error{Detail: `{"message":"no"}`}, 500},
		{"broken JSON", `{"id":"a","code":4`, mucp.Error{Detail: `{"id":"a","code":4`}, 500},
		{
			"joined", `{"id":"a","code":404,"detail":"no a"}` + "\n" + `{"id":"b","code":500,"detail":"no b"}`,
			mucp.Error{ID: "a", Code: 404, Detail: "no a; no b"}, 404,
		},
		{"joined with text", `{"id":"a","code":409,"detail":"no a"} and more`, mucp.Error{ID: "a", Code: 409, Detail: "no a; and more"}, 409},
		{"plain", "a plain error", mucp.Error{Detail: "a plain error"}, 500},
		{"v6 service", "rpc: can't find service Nope", mucp.Error{Detail: "rpc: can't find service Nope"}, 404},
		{"v6 method", "rpc: can't find method Nope", mucp.Error{Detail: "rpc: can't find method Nope"}, 404},
		{"ill-formed", "rpc: service/endpoint request ill-formed: Hello", mucp.Error{Detail: "rpc: service/endpoint request ill-formed: Hello"}, 400},
		{"v6 unknown field", "proto:\u00a0(line 1:16): unknown field \"nosuch\"", mucp.Error{Detail: "proto:\u00a0(line 1:16): unknown field \"nosuch\""}, 400},
		{"v2 unknown field", `unknown field "nosuch" in greeter.HelloRequest`, mucp.Error{Detail: `unknown field "nosuch" in greeter.HelloRequest`}, 400},
		{"json", "json: cannot unmarshal number into Go value of type string", mucp.Error{Detail: "json: cannot unmarshal number into Go value of type string"}, 400},
		{"no json", "invalid character 'o' in literal null (expecting 'u')", mucp.Error{Detail: "invalid character 'o' in literal null (expecting 'u')"}, 400},
		{"deadline", "context deadline exceeded", mucp.Error{Detail: "context deadline exceeded"}, 504},
		{"about a character", "name: invalid character found", mucp.Error{Detail: "name: invalid character found"}, 500},
		{"empty", "", mucp.Error{Detail: "Internal Server Error"}, 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := mucp.ParseError(tt.text)
			if *got != tt.want || got.HTTPStatus() != tt.status {
				t.Errorf("ParseError(%s) = %+v (%d), want %+v (%d)", tt.text, *got, got.HTTPStatus(), tt.want, tt.status)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	e := mucp.Error{ID: "greeter.fail", Code: 400, Detail: "bad name\n\"x\""}
	want := `{"id":"greeter.fail","code":400,"detail":"bad name\n\"x\"","status":"Bad Request"}`
	if got := e.Text(); got != want {
		t.Errorf("Text = %s, want %s", got, want)
	}
}

// What was read always says something and has an error's status; written and
// read again it is the same.
func FuzzParseError(f *testing.F) {
	f.Add(`{"id":"greeter.fail","code":400,"detail":"bad name badrequest","status":"Bad Request"}`)
	f.Add(`{"id":"a","code":404,"detail":"no a"}` + "\n" + `{"id":"b"}`)
	f.Add("proto:\u00a0(line 1:16): unknown field \"nosuch\"")
	f.Add("rpc: can't find method Nope")
	f.Fuzz(func(t *testing.T, text string) {
		first := mucp.ParseError(text)
		status := first.HTTPStatus()
		if first.Detail == "" || status < 400 || status > 599 {
			t.Fatalf("ParseError(%q) = %+v (%d)", text, first, status)
		}
		second := mucp.ParseError(first.Text())
		if second.HTTPStatus() != status || second.ID != strings.ToValidUTF8(first.ID, "\ufffd") ||
			strings.ContainsRune(second.Text(), '\n') {
			t.Fatalf("ParseError(%s) = %+v, want %+v", first.Text(), second, first)
		}
	})
}
