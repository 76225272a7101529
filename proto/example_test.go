package proto_test

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/goapi-dev/goapi/proto"
)

// hello is a method of a service for requests of any kind.
func hello(req *proto.Request, res *proto.Response) {
	if req.GetMethod() != "GET" {
		res.StatusCode = 405
		res.Header = map[string]*proto.Pair{"Allow": {Key: "Allow", Values: []string{"GET"}}}
		return
	}
	res.Body = "hello " + strings.Join(req.GetGet()["name"].GetValues(), " and ")
}

// What a gateway and a service say to each other.
func Example() {
	for _, method := range []string{"GET", "PUT"} {
		req := &proto.Request{
			Method: method, Path: "/hello", Url: "/hello?name=John&name=Jane",
			Get: map[string]*proto.Pair{"name": {Key: "name", Values: []string{"John", "Jane"}}},
		}
		res := new(proto.Response)
		hello(req, res)
		text, err := json.Marshal(res)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(string(text))
	}
	// Output:
	// {"body":"hello John and Jane"}
	// {"statusCode":405,"header":{"Allow":{"key":"Allow","values":["GET"]}}}
}
