package test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/proto"
	"github.com/goapi-dev/goapi/service"
)

// TestAPIHandler calls a method that takes a whole HTTP request, by its route
// and by its name.
func TestAPIHandler(t *testing.T) {
	p := startGateway(t, "--handler", "api")
	echo := service.New("echo", &service.Options{Registry: p.client()})
	echo.Handle("Echo.Call", service.Method(func(_ context.Context, req *proto.Request) (*proto.Response, error) {
		return &proto.Response{
			StatusCode: http.StatusAccepted,
			Body:       req.GetMethod() + " " + req.GetPath() + " " + req.GetGet()["a"].GetValues()[0],
		}, nil
	}), &goapi.Endpoint{Handler: "api", Path: []string{"/announced/**"}})
	p.serve(echo)

	for _, path := range []string{"/announced/x", "/echo/call"} {
		if status, body := p.get(p.address, path+"?a=1"); status != http.StatusAccepted || !strings.HasPrefix(body, "GET "+path+" 1") {
			t.Errorf("GET %s = %d %q, want 202 from the method", path, status, body)
		}
	}
}
