package router_test

import (
	"net/http/httptest"
	"testing"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
)

func TestSmoke(t *testing.T) {
	svc := &registry.Service{Name: "greeter", Version: "latest",
		Nodes:     []*registry.Node{{ID: "greeter-1", Address: "127.0.0.1:9000"}},
		Endpoints: []*registry.Endpoint{{Name: "Greeter.Hello", Metadata: map[string]string{"endpoint": "Greeter.Hello", "handler": "rpc", "method": "GET", "path": "/hello/{name},/x/{p=**}:go"}}}}
	tab, err := router.Static([]*registry.Service{svc}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/hello/john%2Fx", nil)
	rt, err := tab.Route(r)
	t.Log(rt, err, r.PathValue("name"))
	r = httptest.NewRequest("GET", "/x/a/b:go", nil)
	rt, err = tab.Route(r)
	t.Log(rt, err, r.PathValue("p"))
	r = httptest.NewRequest("POST", "/x/a/b:go", nil)
	rt, err = tab.Route(r)
	t.Log(rt, err, tab.Routes())
}
