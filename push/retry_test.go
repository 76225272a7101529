package push_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
)

// TestStatuses: the table of the data plane of Knative.
func TestStatuses(t *testing.T) {
	retried := map[int]bool{404: true, 408: true, 409: true, 429: true}
	codes := []int{200, 201, 202, 204, 206, 299, 300, 302, 304, 307, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 418, 422, 425, 429, 499, 500, 501, 502, 503, 504, 511, 599}
	for _, code := range codes {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			g := start(t, new(broker.Memory), push.Options{})
			letter := g.letters(t)
			n := serve(t, statuses(code))
			g.announce(t, "mailer", n, "orders")
			g.subscribed(t, "orders")
			g.publish(t, "orders", "m-1", "x")
			n.ids(t, 1)
			switch {
			case code < 300:
			case retried[code] || code >= 500:
				n.ids(t, 1)
			default:
				l := letter()
				if got, want := l.Header["Goapi-Dead-Letter-Reason"], fmt.Sprintf("the service answered %d", code); !strings.HasPrefix(got, want) {
					t.Errorf("reason = %q, want %q", got, want)
				}
				if l.Header["Goapi-Dead-Letter-Attempts"] != "1" {
					t.Errorf("attempts = %q, want 1", l.Header["Goapi-Dead-Letter-Attempts"])
				}
			}
			g.publish(t, "orders", "m-2", "x")
			if got := n.ids(t, 1)[0]; got != "m-2" {
				t.Errorf("next came %q, want m-2: m-1 was dealt with", got)
			}
		})
	}
}

// TestMicroErrors: errors of go-micro count by their code, and those without one
// are tried again.
func TestMicroErrors(t *testing.T) {
	tests := []struct {
		name, text string
		reason     string // "" if tried again
	}{
		{"bad request", `{"id":"greeter","code":400,"detail":"no name","status":"Bad Request"}`, "the service answered with the error 400: no name"},
		{"forbidden, as of v2", `{"id":"greeter","code":403,"status":"Forbidden"}`, "the service answered with the error 403: Forbidden"},
		{"many lines", `{"id":"greeter","code":400,"detail":"a\nb"}`, "the service answered with the error 400: a b"},
		{"not found", `{"id":"greeter","code":404,"detail":"x"}`, ""},
		{"conflict", `{"id":"greeter","code":409,"detail":"x"}`, ""},
		{"internal", `{"id":"greeter","code":500,"detail":"x"}`, ""},
		{"unavailable", `{"id":"greeter","code":503,"detail":"x"}`, ""},
		{"a code of its own", `{"id":"greeter","code":7,"detail":"x"}`, ""},
		{"plain text", "dial tcp 10.0.0.7:5432: connection refused", ""},
		{"plain text that is known", `json: unknown field "x"`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, new(broker.Memory), push.Options{})
			letter := g.letters(t)
			n := serve(t, microServer(tt.text)).of("protocol", "mucp")
			g.announce(t, "greeter", n, "orders")
			g.subscribed(t, "orders")
			g.publish(t, "orders", "m-1", "x")
			receive(t, n.came)
			if tt.reason == "" {
				receive(t, n.came)
			} else if got := letter().Header["Goapi-Dead-Letter-Reason"]; got != tt.reason {
				t.Errorf("reason = %q, want %q", got, tt.reason)
			}
		})
	}
}

// TestAttempts: what fails too often is given up. Its dead letter keeps body and
// header of the message, and says all of it; it is there once.
func TestAttempts(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{MaxAttempts: 5})
	letter := g.letters(t)
	n := serve(t, always(http.StatusInternalServerError))
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	g.publish(t, "orders", "m-1", "hello", "Content-Type", "text/plain", "Shop", "7", "goapi-dead-letter-service", "forged")
	l := letter()
	n.ids(t, 5)
	wantNone(t, n)
	for name, want := range map[string]string{
		"Content-Type": "text/plain", "Shop": "7",
		"Goapi-Dead-Letter": "given-up", "Goapi-Dead-Letter-Service": "mailer", "Goapi-Dead-Letter-Endpoint": "Onorders",
		"Goapi-Dead-Letter-Topic": "orders", "Goapi-Dead-Letter-Id": "m-1", "Goapi-Dead-Letter-Attempts": "5",
		"Goapi-Dead-Letter-Reason": "the service answered 500 Internal Server Error", "goapi-dead-letter-service": "",
	} {
		if l.Header[name] != want {
			t.Errorf("%s = %q, want %q", name, l.Header[name], want)
		}
	}
	if string(l.Body) != "hello" || l.ID == "" || l.ID == "m-1" {
		t.Errorf("letter = %q with the ID %q, want hello and an ID of its own", l.Body, l.ID)
	}
	g.log.wait(t, "message given up", "m-1", "attempts=5")
}

// TestUnreachable: the reason names no address.
func TestUnreachable(t *testing.T) {
	gone := httptest.NewServer(nil)
	addr := gone.Listener.Addr().String()
	gone.Close()
	g := start(t, new(broker.Memory), push.Options{MaxAttempts: 2})
	letter := g.letters(t)
	n := newNode()
	n.addr = addr
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	g.publish(t, "orders", "m-1", "x")
	if got, want := letter().Header["Goapi-Dead-Letter-Reason"], "the service could not be reached"; got != want {
		t.Errorf("reason = %q, want %q", got, want)
	}
}

// TestBreaksOff: an answer that never begins is none.
func TestBreaksOff(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{MaxAttempts: 3})
	letter := g.letters(t)
	n := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	g.publish(t, "orders", "m-1", "x")
	if got, want := letter().Header["Goapi-Dead-Letter-Reason"], "the service broke off before it answered"; got != want {
		t.Errorf("reason = %q, want %q", got, want)
	}
}

// TestRedirect: nobody is followed to where he points.
func TestRedirect(t *testing.T) {
	elsewhere := serve(t, nil)
	g := start(t, new(broker.Memory), push.Options{})
	letter := g.letters(t)
	n := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+elsewhere.addr+"/", http.StatusPermanentRedirect)
	})
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	g.publish(t, "orders", "m-1", "x")
	if got, want := letter().Header["Goapi-Dead-Letter-Reason"], "the service answered 308 Permanent Redirect"; got != want {
		t.Errorf("reason = %q, want %q", got, want)
	}
	wantNone(t, elsewhere)
}

// TestEndlessAnswer: what a service says beside its status holds nothing up.
func TestEndlessAnswer(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{InFlight: 1})
	n := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	})
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	for _, id := range []string{"1", "2", "3"} {
		g.publish(t, "orders", id, "x")
	}
	n.ids(t, 3)
}

// TestSwitchesProtocols: a service that takes the connection over, and keeps it,
// holds up neither its messages nor the end.
func TestSwitchesProtocols(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{InFlight: 1})
	letter := g.letters(t)
	n := newNode()
	n.addr = switches(t)
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	for _, id := range []string{"1", "2"} {
		g.publish(t, "orders", id, "x")
		l := letter()
		if got, want := l.Header["Goapi-Dead-Letter-Reason"], "the service answered 101 Switching Protocols"; got != want || l.Header["Goapi-Dead-Letter-Id"] != id {
			t.Errorf("letter of %q with the reason %q, want that of %q with %q", l.Header["Goapi-Dead-Letter-Id"], got, id, want)
		}
	}
	g.stop()
}

// switches runs a server that answers every request with a 101, and then keeps the
// connection until the test ends. It returns its address.
func switches(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					t.Errorf("reading a request: %v", err)
				}
				_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
				<-ended
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		close(ended)
		conns.Wait()
	})
	return l.Addr().String()
}

// TestAtMostOnce: where nothing comes again, what fails is given up at once.
func TestAtMostOnce(t *testing.T) {
	b := newTap(new(broker.Memory))
	b.caps.Redelivery = false
	g := start(t, b, push.Options{})
	letter := g.letters(t)
	n := serve(t, statuses(503, 500))
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	for _, id := range []string{"1", "2"} {
		g.publish(t, "orders", id, "x")
		n.ids(t, 1)
		if l := letter(); l.Header["Goapi-Dead-Letter-Id"] != id || l.Header["Goapi-Dead-Letter-Attempts"] != "1" {
			t.Errorf("letter = %v, want that of %s after one attempt", l.Header, id)
		}
	}
}

// TestKeepsNothing: where nobody keeps dead letters, the log says so at the start,
// and speaks of no dead letter when a message is given up.
func TestKeepsNothing(t *testing.T) {
	const once, lost = "WARN messages are pushed once only", "WARN messages that a service does not take are lost"
	tests := []struct {
		name                string
		redelivery, history bool
		topics              []string
		warns               map[string]int
		givenUp             string
	}{
		{"neither", false, false, nil, map[string]int{once: 1, lost: 1}, "WARN message given up and lost; the broker keeps no dead letters"},
		{"no history", true, false, nil, map[string]int{once: 0, lost: 1}, "WARN message given up and lost; the broker keeps no dead letters"},
		{"no redelivery", false, true, nil, map[string]int{once: 1, lost: 0}, "WARN message given up; it is a dead letter"},
		{"both", true, true, nil, map[string]int{once: 0, lost: 0}, "WARN message given up; it is a dead letter"},
		{"nothing is pushed", false, false, []string{}, map[string]int{once: 0, lost: 0}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newTap(new(broker.Memory))
			b.caps.Redelivery, b.caps.History = tt.redelivery, tt.history
			g := start(t, b, push.Options{Topics: tt.topics})
			if tt.givenUp != "" {
				n := serve(t, always(http.StatusBadRequest))
				g.announce(t, "mailer", n, "orders")
				g.subscribed(t, "orders")
				g.publish(t, "orders", "m-1", "x")
				g.log.wait(t, tt.givenUp, "m-1")
			}
			g.stop()
			for line, want := range tt.warns {
				if got := g.log.count(line); got != want {
					t.Errorf("the log has %q %d times, want %d", line, got, want)
				}
			}
		})
	}
}

// TestNoDeadLetter: what cannot be made a dead letter is not lost: it is pushed
// again, until it can.
func TestNoDeadLetter(t *testing.T) {
	b := newTap(new(broker.Memory))
	failing := make(chan error, 1)
	failing <- broker.ErrUnavailable
	b.publishes = func(topic string) error {
		if topic != "_dead-letters" {
			return nil
		}
		select {
		case err := <-failing:
			return err
		default:
			return nil
		}
	}
	g := start(t, b, push.Options{})
	letter := g.letters(t)
	n := serve(t, always(http.StatusBadRequest))
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	g.publish(t, "orders", "m-1", "x")
	n.ids(t, 2)
	if l := letter(); l.Header["Goapi-Dead-Letter-Id"] != "m-1" || l.Header["Goapi-Dead-Letter-Attempts"] != "2" {
		t.Errorf("letter = %v, want that of m-1 after two attempts", l.Header)
	}
	g.log.wait(t, "could not be made a dead letter", "m-1")
}

// TestLostSettlement: a broker that is away for a moment learns nevertheless what
// was taken.
func TestLostSettlement(t *testing.T) {
	b := &forgetful{Broker: new(broker.Memory), left: make(chan struct{}, 2)}
	b.left <- struct{}{}
	b.left <- struct{}{}
	g := start(t, b, push.Options{InFlight: 1})
	n := serve(t, nil)
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	g.publish(t, "orders", "1", "x")
	g.publish(t, "orders", "2", "x")
	if got := n.ids(t, 2); got[0] != "1" || got[1] != "2" {
		t.Errorf("came %q, want each once", got)
	}
	if len(b.left) > 0 {
		t.Error("no settlement failed")
	}
}

// TestSecure: a node that says so is called over TLS, and verified.
func TestSecure(t *testing.T) {
	n := newNode()
	s := httptest.NewUnstartedServer(n.handler(nil))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it is told of who hangs up
	s.StartTLS()
	t.Cleanup(s.Close)
	n.addr = s.Listener.Addr().String()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	for _, trusted := range []bool{true, false} {
		t.Run(fmt.Sprint(trusted), func(t *testing.T) {
			opts := push.Options{MaxAttempts: 1}
			if trusted {
				opts.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
			}
			g := start(t, new(broker.Memory), opts)
			letter := g.letters(t)
			g.announce(t, "mailer", n.of("secure", "true"), "orders")
			g.subscribed(t, "orders")
			g.publish(t, "orders", "m-1", "x")
			if trusted {
				n.ids(t, 1)
				return
			}
			letter()
			wantNone(t, n)
		})
	}
}
