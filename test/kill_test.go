package test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestKillOfANode kills one of three nodes with SIGKILL under 200 requests a
// second, half of them POST. No GET fails, and no POST reaches a service twice.
// A POST that the killed node had read may fail: whether it was served, nobody
// can know.
func TestKillOfANode(t *testing.T) {
	p := startGateway(t)
	for _, tt := range []struct{ name, endpoint, handler string }{
		{"web", "Web", "http"},
		{"rpc", "Node.Echo", "rpc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nodes := []*node{startNode(t, "n1"), startNode(t, "n2"), startNode(t, "n3")}
			p.register(announcedAs(tt.name, tt.endpoint, map[string]string{
				"handler": tt.handler, "method": "GET,POST", "path": "/" + tt.name + "/{request}",
			}, nodes), 0)
			killUnderLoad(t, "http://"+p.address+"/"+tt.name+"/", nodes)
		})
	}
}

func killUnderLoad(t *testing.T, url string, nodes []*node) {
	const (
		rate     = 200
		requests = 3 * rate
	)
	var (
		group  sync.WaitGroup
		mu     sync.Mutex
		failed []string
	)
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	pace := time.NewTicker(time.Second / rate)
	defer pace.Stop()
	for i := range requests {
		if i == requests/3 {
			nodes[1].kill()
		}
		<-pace.C
		method := []string{http.MethodGet, http.MethodPost}[i%2]
		group.Go(func() {
			if err := send(t, transport, url, method, fmt.Sprint(method, "-", i)); err != nil {
				mu.Lock()
				failed = append(failed, fmt.Sprintf("%s %d: %v", method, i, err))
				mu.Unlock()
			}
		})
	}
	group.Wait()
	judge(t, nodes, failed, requests/2)
}

// judge looks at what failed and at what reached the nodes.
func judge(t *testing.T, nodes []*node, failed []string, sent int) {
	t.Helper()
	posts := 0
	for _, f := range failed {
		if strings.HasPrefix(f, http.MethodGet) {
			t.Errorf("failed: %s", f)
			continue
		}
		posts++
	}
	if posts > 4 { // about 200/3 × 15 ms are in hand
		t.Errorf("%d of %d POST failed: %v", posts, sent, failed)
	}
	seen := make(map[string]int)
	for _, n := range nodes {
		for _, line := range n.requests() {
			seen[line]++
		}
	}
	for line, times := range seen {
		if strings.HasPrefix(line, http.MethodPost) && times > 1 {
			t.Errorf("%s reached a service %d times", line, times)
		}
	}
	if len(nodes[1].requests()) == 0 {
		t.Error("the killed node had served nothing: the test shows nothing")
	}
	t.Logf("%d GET and %d POST, %d failed POST", sent, sent, posts)
}

// send sends a request with an id, and returns why it was not answered well.
func send(t *testing.T, transport http.RoundTripper, url, method, id string) error {
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("{}")
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url+id, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	rsp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		return err
	}
	if rsp.StatusCode != http.StatusOK || !strings.Contains(string(b), `"request":"`+id+`"`) {
		return fmt.Errorf("%s: %s", rsp.Status, b)
	}
	return nil
}
