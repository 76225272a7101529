package test

import (
	"context"
	"net/http"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/proto"
	"github.com/goapi-dev/goapi/service"
)

// TestAPIHandler calls a method that takes a whole HTTP request, by its route
// and by its name.
func TestAPIHandler(t *testing.T) {
	for _, format := range []string{"json", "protobuf"} {
		t.Run(format, func(t *testing.T) {
			p := startGateway(t, "--handler", "api", "--api-format", format)
			echo := service.New("echo", &service.Options{Registry: p.client()})
			echo.Handle("Echo.Call", service.Method(func(ctx context.Context, req *proto.Request) (*proto.Response, error) {
				return &proto.Response{
					StatusCode: http.StatusAccepted,
					Body:       req.GetMethod() + " " + req.GetPath() + " " + req.GetGet()["a"].GetValues()[0] + " in " + service.Header(ctx).Get("Content-Type"),
				}, nil
			}), &goapi.Endpoint{Handler: "api", Path: []string{"/announced/**"}})
			p.serve(echo)

			for _, path := range []string{"/announced/x", "/echo/call"} {
				want := "GET " + path + " 1 in application/" + format
				if status, body := p.get(p.address, path+"?a=1"); status != http.StatusAccepted || body != want {
					t.Errorf("GET %s = %d %q, want 202 %q", path, status, body, want)
				}
			}
		})
	}
}
