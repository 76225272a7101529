package handler_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/proto"
	"github.com/goapi-dev/goapi/service"
	"github.com/goapi-dev/goapi/upstream"
)

// A method that is made for HTTP gets the whole request, and answers with
// status and headers of its own.
func ExampleAPI() {
	create := func(_ context.Context, req *proto.Request) (*proto.Response, error) {
		name := req.GetPost()["name"].GetValues()
		if len(name) == 0 {
			return &proto.Response{StatusCode: http.StatusUnprocessableEntity, Body: `{"missing":"name"}`}, nil
		}
		return &proto.Response{
			StatusCode: http.StatusCreated,
			Header:     map[string]*proto.Pair{"Location": {Key: "Location", Values: []string{req.GetPath() + "/" + name[0]}}},
		}, nil
	}
	users := service.New("users", nil)
	users.Handle("Users.Create", service.Method(create), nil)
	node := httptest.NewServer(users)
	defer node.Close()

	micro := client.NewMicro(nil)
	defer micro.Close()
	gateway := goapi.With(&goapi.Route{
		Service:  "users",
		Endpoint: &goapi.Endpoint{Name: "Users.Create", Handler: "api"},
		Upstream: upstream.Static(node.Listener.Addr().String()),
	}, handler.API(micro, nil))

	for _, form := range []string{"name=john", "nickname=john"} {
		r := httptest.NewRequest(http.MethodPost, "/users", strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		gateway.ServeHTTP(w, r)
		fmt.Printf("%d %s%s\n", w.Code, w.Header().Get("Location"), w.Body)
	}
	// Output:
	// 201 /users/john
	// 422 {"missing":"name"}
}
