package handler_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/proto"
	"github.com/goapi-dev/goapi/service"
	"github.com/goapi-dev/goapi/upstream"
)

// echoCall answers with what it was asked, as the service of the capture does.
func echoCall(_ context.Context, req *proto.Request) (*proto.Response, error) {
	if req.GetPath() == "/fail" {
		return nil, &goapi.Error{Code: 409, ID: "echo.call", Detail: "no"}
	}
	status := map[string]int32{"/none": 204, "/bad": 1000}[req.GetPath()]
	return &proto.Response{
		StatusCode: status,
		Header: map[string]*proto.Pair{
			"X-Echo":       {Key: "X-Echo", Values: req.GetHeader()["X-Many"].GetValues()},
			"Content-Type": {Key: "Content-Type", Values: []string{"text/plain"}},
		},
		Body: strings.Join(append(req.GetGet()["a"].GetValues(), req.GetPost()["a"].GetValues()...), " ") + req.GetBody(),
	}, nil
}

// TestAPIOverTheWire calls a service through a gateway, both on sockets.
func TestAPIOverTheWire(t *testing.T) {
	s := service.New("echo", nil)
	s.Handle("Echo.Call", service.Method(echoCall), nil)
	node := httptest.NewServer(s)
	defer node.Close()
	micro := client.NewMicro(nil)
	defer micro.Close()
	rt := echoRoute()
	rt.Upstream = upstream.Static(node.Listener.Addr().String())

	tests := []struct {
		method, target, contentType, body string
		want                              string // status, content type, length and body
	}{
		{"GET", "/?a=é&a=2", "", "", "200 text/plain 4 é 2"},
		{"HEAD", "/?a=1", "", "", "200 text/plain 1 "},
		{"POST", "/?a=1", formType, "a=2", "200 text/plain 3 1 2"},
		{"PUT", "/", "application/json", `{"a":"\u00e9<"}`, `200 text/plain 15 {"a":"\u00e9<"}`},
		{"POST", "/", "", "", "200 text/plain 0 "},
		{"DELETE", "/none", "", "", "204 text/plain -1 "},
		{"GET", "/fail", "", "", `409 application/json 64 {"id":"echo.call","code":409,"detail":"no","status":"Conflict"}` + "\n"},
		{"GET", "/bad", "", "", `502 application/json 114 {"id":"goapi","code":502,"detail":"service echo gave no valid answer: its status is 1000","status":"Bad Gateway"}` + "\n"},
	}
	for _, asProtobuf := range []bool{false, true} {
		gateway := httptest.NewServer(goapi.With(rt, handler.API(micro, &handler.APIOptions{Protobuf: asProtobuf})))
		defer gateway.Close()
		for _, tt := range tests {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, gateway.URL+tt.target, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header["X-Many"] = []string{"a", "b"}
			if tt.contentType != "" {
				req.Header.Set("Content-Type", tt.contentType)
			}
			rsp, err := gateway.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(rsp.Body)
			_ = rsp.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join([]string{rsp.Status[:3], rsp.Header.Get("Content-Type"), rsp.Header.Get("Content-Length"), string(body)}, " ")
			want := strings.Replace(tt.want, " -1 ", "  ", 1)
			if got != want {
				t.Errorf("%s %s = %s, want %s", tt.method, tt.target, got, want)
			}
			if echoed := rsp.Header["X-Echo"]; rsp.StatusCode < 300 && !slices.Equal(echoed, []string{"a", "b"}) {
				t.Errorf("%s %s answers X-Echo %q, want a and b", tt.method, tt.target, echoed)
			}
			if rsp.Header.Get("X-Many") != "" {
				t.Errorf("%s %s answers with a header of the call", tt.method, tt.target)
			}
		}
	}
}
