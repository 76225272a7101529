package handler_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/upstream"
)

// TestHTTPLongAnswerToABody has an answer that takes longer than a body may be
// idle: the deadline of the body must not outlive the body.
func TestHTTPLongAnswerToABody(t *testing.T) {
	const idle = 200 * time.Millisecond
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		tick := time.NewTicker(idle / 4)
		defer tick.Stop()
		for range 12 { // three times the idle time in all, never idle
			<-tick.C
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
		}
	}))
	defer service.Close()
	rt := &goapi.Route{
		Service: "slow", Upstream: upstream.Static(service.Listener.Addr().String()),
		Endpoint: &goapi.Endpoint{Name: "Slow", Handler: "http"},
	}
	gw := httptest.NewServer(goapi.With(rt, handler.HTTP(&handler.HTTPOptions{Idle: idle})))
	defer gw.Close()
	rsp, err := gw.Client().Post(gw.URL, "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if b, err := io.ReadAll(rsp.Body); err != nil || len(b) != 12 {
		t.Errorf("answer = %q, %v; want it whole", b, err)
	}
}
