package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/goapi-dev/goapi/server"
)

// Two certificates, of which a client gets the one for the name that it asks for.
// Files that are replaced are read again while Run runs.
func ExampleNewCertificates() {
	_, err := server.NewCertificates(&server.TLSOptions{
		Pairs: []server.Pair{
			{Cert: "/etc/goapi/api.crt", Key: "/etc/goapi/api.key"},
			{Cert: "/etc/goapi/wildcard.crt", Key: "/etc/goapi/wildcard.key"},
		},
		ClientCA:   "/etc/goapi/clients.pem",
		ClientAuth: server.ClientAuthRequest,
	})
	fmt.Println(err)
	// Output:
	// server: certificate: open /etc/goapi/api.crt: no such file or directory
	// server: certificate: open /etc/goapi/wildcard.crt: no such file or directory
	// server: client CA: open /etc/goapi/clients.pem: no such file or directory
}

func Example() {
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s, err := server.Listen(ctx, "127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- s.Run(ctx, hello) }()

	rsp, err := http.Get("http://" + s.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(rsp.Body)
	rsp.Body.Close()
	fmt.Println(string(body))

	stop()
	fmt.Println(<-done)
	// Output:
	// hello
	// <nil>
}
