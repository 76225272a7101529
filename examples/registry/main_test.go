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
	// files in the directory: 1
	// 200 hello from a service, which sees /hello/john
}
