package test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/service"
)

// slowService has a method that begins when it is called, and ends with the
// test.
func slowService(t *testing.T, p *process) (begun chan struct{}) {
	t.Helper()
	begun, end := make(chan struct{}, 8), make(chan struct{})
	s := service.New("slow", &service.Options{Registry: p.client()})
	s.HandleHTTP(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}), &goapi.Endpoint{Name: "Slow", Path: []string{"/slow"}})
	p.serve(s)
	t.Cleanup(func() { close(end) }) // before the service is stopped
	return begun
}

// TestTimeout gives one service less time than others have.
func TestTimeout(t *testing.T) {
	p := startGateway(t, "--timeout", "slow=100ms")
	slowService(t, p)
	if status, body := p.get(p.address, "/slow"); status != http.StatusGatewayTimeout {
		t.Errorf("GET of a service that takes too long = %d %s, want 504", status, body)
	}
}

// TestLimits has a service that is busy with all that it may get.
func TestLimits(t *testing.T) {
	for _, flag := range []string{"--max-in-flight", "--max-per-node"} {
		t.Run(flag, func(t *testing.T) {
			p := startGateway(t, flag, "slow=1")
			begun := slowService(t, p)
			url := "http://" + p.address + "/slow"
			go func() { // ends with the service
				if rsp, err := http.Get(url); err == nil {
					_ = rsp.Body.Close()
				}
			}()
			<-begun
			rsp, err := http.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			defer rsp.Body.Close()
			if rsp.StatusCode != http.StatusServiceUnavailable || rsp.Header.Get("Retry-After") == "" {
				t.Errorf("a request too many = %s, Retry-After %q; want 503 and a time", rsp.Status, rsp.Header.Get("Retry-After"))
			}
		})
	}
}

// TestOrigin opens WebSockets as pages of other sites do.
func TestOrigin(t *testing.T) {
	p := startGateway(t, "--origin", "https://app.example.com")
	p.register(sockets("chat", socketNode(t, "n1")), 0)
	handshake := []string{
		"Connection", "Upgrade", "Upgrade", "websocket",
		"Sec-Websocket-Version", "13", "Sec-Websocket-Key", "MDEyMzQ1Njc4OWFiY2RlZg==",
	}
	for origin, refused := range map[string]bool{"https://evil.example.com": true, "https://app.example.com": false} {
		_, body := p.get(p.address, "/chat", append(handshake, "Origin", origin)...)
		if got := strings.Contains(body, `"id":"goapi"`); got != refused { // the node has a mind of its own
			t.Errorf("handshake from %s: refused by the gateway = %t, want %t: %s", origin, got, refused, body)
		}
	}
}
