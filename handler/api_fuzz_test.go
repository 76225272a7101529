package handler_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/proto"
)

// FuzzAPI sends a request as it was read off a connection. If the service gets
// it, it gets all of it, in both encodings.
func FuzzAPI(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /a%2Fb?a=1&a=%C3%A9&b HTTP/1.1\r\nHost: h\r\nX-Many: a\r\nX-Many: \xc3\xa9\r\n\r\n",
		"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Type: " + formType + "\r\nContent-Length: 7\r\n\r\na=1&b=2",
		"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\na=1&b=2",
		"PUT /echo HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n",
		"POST / HTTP/1.0\r\nContent-Type: x\r\nContent-Length: 1\r\n\r\n\xff",
		"GET http://example.com//x?%zz HTTP/1.1\r\nHost: h\r\nConnection: X-Hop\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nCookie: a=1\r\nCookie: b=2\r\nX_a: 1\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		parse := func() *http.Request {
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
			if err != nil {
				return nil
			}
			r.RemoteAddr = "192.0.2.9:1234"
			return r
		}
		r := parse()
		if r == nil || !utf8.ValidString(r.Method) { // what no server hands on
			return
		}
		body, err := io.ReadAll(r.Body)
		var messages []*proto.Request
		for _, asProtobuf := range []bool{false, true} {
			c := &recorder{}
			if !asProtobuf {
				c.reply = "{}"
			}
			w := httptest.NewRecorder()
			goapi.With(echoRoute(), handler.API(c, &handler.APIOptions{Protobuf: asProtobuf})).ServeHTTP(w, parse())
			if w.Code >= 500 || (w.Code == http.StatusOK) != (len(c.calls) == 1) {
				t.Fatalf("answer = %d %s after %d calls, want 200 after one, or a client's error", w.Code, w.Body, len(c.calls))
			}
			if len(c.calls) == 0 {
				return
			}
			messages = append(messages, received(t, &c.calls[0]))
		}
		if err != nil {
			t.Fatalf("a broken body went to the service: %v", err)
		}
		if diff := cmp.Diff(messages[0], messages[1], protocmp.Transform()); diff != "" {
			t.Fatalf("the messages differ (-JSON +protobuf)\n%s", diff)
		}
		checkMessage(t, r, string(body), messages[0])
	})
}

// checkMessage compares a message with the request that it was made of.
func checkMessage(t *testing.T, r *http.Request, body string, got *proto.Request) {
	t.Helper()
	if got.GetMethod() != r.Method || got.GetPath() != r.URL.Path || got.GetUrl() != r.URL.RequestURI() {
		t.Errorf("message = %s %s %s, want %s %s %s", got.GetMethod(), got.GetPath(), got.GetUrl(), r.Method, r.URL.Path, r.URL.RequestURI())
	}
	if diff := cmp.Diff(r.URL.Query(), valuesOf(got.GetGet())); diff != "" {
		t.Errorf("get (-want +got)\n%s", diff)
	}
	if got.GetPost() == nil && got.GetBody() != body && strings.Trim(body, "&") != "" {
		t.Errorf("body = %q, want %q", got.GetBody(), body)
	}
	if got.GetPost() != nil {
		want, err := url.ParseQuery(body)
		if diff := cmp.Diff(want, valuesOf(got.GetPost())); diff != "" || err != nil || got.GetBody() != "" {
			t.Errorf("post (-want +got)\n%s, %v, with the body %q", diff, err, got.GetBody())
		}
	}
	for name, list := range valuesOf(got.GetHeader()) {
		switch name {
		case "Host":
			if !slices.Equal(list, []string{r.Host}) {
				t.Errorf("Host = %q, want %q", list, r.Host)
			}
		case "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via": // the gateway's own
		default:
			if !slices.Equal(list, r.Header[name]) {
				t.Errorf("header %s = %q, want %q", name, list, r.Header[name])
			}
		}
	}
}

// valuesOf returns pairs as net/url has them.
func valuesOf(pairs map[string]*proto.Pair) url.Values {
	v := make(url.Values, len(pairs))
	for name, p := range pairs {
		v[name] = p.GetValues()
	}
	return v
}

// FuzzAPIReply has a service reply anything: the client gets a valid answer.
func FuzzAPIReply(f *testing.F) {
	for _, seed := range []string{
		`{"statusCode":202,"header":{"X":{"key":"X","values":["a","b"]}},"body":"x"}`, `{}`, "", `{"statusCode":1000}`,
		`{"header":{"Connection":{"key":"connection","values":["x"]},"content-length":{"values":["7"]}},"statusCode":304,"body":"x"}`,
		"\x08\xca\x01\x1a\x01B",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, reply []byte, asProtobuf bool) {
		w := httptest.NewRecorder()
		goapi.With(echoRoute(), handler.API(answer(string(reply)), &handler.APIOptions{Protobuf: asProtobuf})).
			ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code < 200 || w.Code > 999 {
			t.Fatalf("status = %d", w.Code)
		}
		var wire bytes.Buffer
		if err := w.Result().Write(&wire); err != nil {
			t.Fatal(err)
		}
		rsp, err := http.ReadResponse(bufio.NewReader(&wire), nil)
		if err != nil {
			t.Fatalf("the answer cannot be read: %v", err)
		}
		body, err := io.ReadAll(rsp.Body)
		_ = rsp.Body.Close()
		if err != nil || string(body) != w.Body.String() || rsp.StatusCode != w.Code {
			t.Fatalf("answer = %d %q, %v; want %d %q", rsp.StatusCode, body, err, w.Code, w.Body)
		}
		for name, list := range rsp.Header {
			for i, value := range list {
				if want := strings.Trim(w.Header()[name][i], " \t"); value != want {
					t.Errorf("header %s = %q, want %q", name, value, want)
				}
			}
		}
	})
}
