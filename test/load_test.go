package test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// rate is how many requests a second each load sends.
const rate = 200

// A load sends requests to one kind of service, half of them POST, each on its
// schedule whatever has become of the others. Each has an id of its own, which
// the node that reads it writes down.
type load struct {
	kind, url, query string

	transport *http.Transport
	stop      chan struct{}
	stopped   chan struct{}
	group     sync.WaitGroup

	mu      sync.Mutex
	results []result
}

// A result is what became of a request.
type result struct {
	id, method       string
	due, sent, ended time.Time
	err              error // why it was not answered well
}

// took returns how long the request took from when it was due: a sender that is
// late does not make it faster.
func (r *result) took() time.Duration { return r.ended.Sub(r.due) }

func (r *result) String() string {
	if r.err != nil {
		return fmt.Sprintf("%s after %s: %v", r.id, r.took().Round(time.Millisecond), r.err)
	}
	return fmt.Sprintf("%s after %s", r.id, r.took().Round(time.Millisecond))
}

// startLoad starts to send to a gateway requests that take a node some time.
func startLoad(t *testing.T, address, kind string, work time.Duration) *load {
	l := &load{
		kind: kind, url: "http://" + address + "/" + kind + "/", query: "?work=" + work.String(),
		// The gateway closes a connection that is never used after 10 s.
		transport: &http.Transport{MaxIdleConnsPerHost: 512, IdleConnTimeout: 5 * time.Second},
		stop:      make(chan struct{}), stopped: make(chan struct{}),
	}
	go l.run()
	t.Cleanup(func() { l.end() })
	return l
}

// end stops sending, waits for what is under way, and returns all results. It
// may be called again.
func (l *load) end() []result {
	select {
	case <-l.stopped:
	case l.stop <- struct{}{}:
		<-l.stopped
		l.group.Wait()
		l.transport.CloseIdleConnections()
	}
	return l.results
}

// run sends until it is stopped.
func (l *load) run() {
	defer close(l.stopped)
	begin := time.Now()
	for i := 0; ; i++ {
		due := begin.Add(time.Duration(i) * time.Second / rate)
		select {
		case <-l.stop:
			return
		case <-time.After(time.Until(due)):
		}
		method := []string{http.MethodGet, http.MethodPost}[i%2]
		r := result{id: fmt.Sprint(l.kind, "-", method, "-", i), method: method, due: due}
		l.group.Go(func() {
			r.sent = time.Now()
			r.err = send(l.transport, r.method, l.url, r.id, l.query)
			r.ended = time.Now()
			l.mu.Lock()
			l.results = append(l.results, r)
			l.mu.Unlock()
		})
	}
}

// send sends a request with an id, and returns why it was not answered well.
func send(transport http.RoundTripper, method, url, id, query string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("{}")
	}
	req, err := http.NewRequestWithContext(ctx, method, url+id+query, body)
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
