package consul_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/goapi-dev/goapi/registry/consul"
)

// A service that somebody registered in Consul, with its endpoint as metadata,
// is found.
func Example() {
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Consul-Index", "1")
		if r.URL.Path != "/v1/health/service/web" {
			fmt.Fprint(w, `[]`)
			return
		}
		fmt.Fprint(w, `[{
			"Node":    {"Node": "node-1", "Address": "10.0.0.1"},
			"Service": {"ID": "web-1", "Service": "web", "Port": 8080,
			            "Meta": {"protocol": "http", "goapi-endpoint-1": "Hello;method=GET;path=/hello/{name}"}},
			"Checks":  [{"Status": "passing"}]
		}]`)
	}))
	defer agent.Close()

	if err := run(context.Background(), &url.URL{Scheme: "consul", Host: agent.Listener.Addr().String()}); err != nil {
		fmt.Println(err)
	}
	// Output: web at 10.0.0.1:8080: GET /hello/{name}
}

func run(ctx context.Context, u *url.URL) error {
	reg, err := consul.Open(ctx, u, nil)
	if err != nil {
		return err
	}
	defer reg.Close()
	services, err := reg.Get(ctx, "web")
	if err != nil {
		return err
	}
	for _, s := range services {
		e := s.Endpoints[0]
		fmt.Printf("%s at %s: %s %s\n", s.Name, s.Nodes[0].Address, e.Metadata["method"], e.Metadata["path"])
	}
	return nil
}
