package file_test

import (
	"context"
	"fmt"
	"net/url"

	"github.com/goapi-dev/goapi/registry/file"
)

// The services of a file are followed; here it is read once.
func Example() {
	ctx := context.Background()
	reg, err := file.Open(ctx, &url.URL{Scheme: "file", Opaque: "testdata/services.yaml"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reg.Close()
	w, err := reg.Watch(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Close()
	services, err := w.Next(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range services {
		for _, n := range s.Nodes {
			fmt.Println(s.Name, "at", n.Address)
		}
	}
	// Output:
	// billing at 10.0.0.5:9000
	// billing at 10.0.0.6:9000
	// greeter at 127.0.0.1:9090
}
