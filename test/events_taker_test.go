package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// overdue is within how long a message is pushed again that was on its way when
// its gateway was killed: a minute, which is what an attempt may take and as much
// again, and patience.
const overdue = time.Minute + patience

// A taker is a service that has its topic pushed to it, and keeps what comes. It
// knows an event by its id: that of the message, or of the CloudEvent that the
// message is.
type taker struct {
	*httptest.Server
	watcher
}

func startTaker(t *testing.T) *taker {
	t.Helper()
	s := &taker{watcher: watcher{more: make(chan struct{}, 1)}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil { // the gateway was killed
			return
		}
		var event struct{ ID string }
		m := message{id: r.Header.Get("Ce-Id"), topic: eventTopic, body: string(body)}
		if m.id == "" && json.Unmarshal(body, &event) == nil {
			m.id = event.ID
		}
		s.add(m)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	return s
}

// announce announces the taker to a gateway.
func (s *taker) announce(p *process) {
	p.t.Helper()
	p.register(&registry.Service{
		Name: "taker", Nodes: []*registry.Node{{ID: "taker-1", Address: s.Listener.Addr().String()}},
		Endpoints: []*registry.Endpoint{{Name: "Take", Metadata: map[string]string{
			"subscriber": "true", "push": "true", "topic": eventTopic, "path": "/take", "protocol": "cloudevents",
		}}},
	}, 0)
}

// begin announces the taker, and returns when something was pushed to it: its
// group begins with what is published from then on.
func (s *taker) begin(p *process) {
	p.t.Helper()
	s.announce(p)
	n := 0
	p.await(func() bool {
		n++
		got := p.post(p.address, "/broker?topic="+eventTopic, fmt.Sprintf("token:first-%d;", n))
		return got.status == http.StatusAccepted && s.any()
	}, "push of a first message")
}
