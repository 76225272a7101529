package main

import (
	"context"
	"fmt"
)

func Example() {
	if err := run(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 200 the shop, asked for /basket
	// 404 {"id":"goapi","code":404,"detail":"no route for GET /basket, and no service \"nosuch\"","status":"Not Found"}
}
