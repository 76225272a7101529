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
	// / → the program's own page
	// /api/hello/john → hello from a service, which sees /hello/john
}
