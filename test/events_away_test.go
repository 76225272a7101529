package test

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/goapi-dev/goapi/registry/registrytest"
)

// awayGateway starts a gateway whose broker is another process, and returns what
// starts that again.
func awayGateway(t *testing.T) (p, server *process, restart func()) {
	t.Helper()
	bus := []string{"--nats", registrytest.FreeAddress(t, registrytest.Loopback()), "--data", t.TempDir()}
	server = startGateway(t, bus...)
	p = startGateway(t, append(eventFlags(), "--registry", "memory:", "--broker", "nats://"+server.nats)...)
	return p, server, func() { startGateway(t, bus...) }
}

// unavailable checks that nothing can be published or received, and that the
// answers say when to come again.
func (p *process) unavailable() {
	p.t.Helper()
	for _, w := range ways() {
		got := p.post(p.address, w.path, w.body("a"), "Content-Type", w.contentType)
		seconds, err := strconv.Atoi(got.header.Get("Retry-After"))
		if got.status != http.StatusServiceUnavailable || err != nil || seconds < 1 || !strings.Contains(got.body, "the broker cannot be reached") {
			p.t.Errorf("POST %s without a broker = %v, Retry-After %q; want 503, a time and a reason", w.path, got, got.header.Get("Retry-After"))
		}
		if strings.Contains(got.body, "127.0.0.1") || strings.Contains(strings.ToLower(got.body), "nats") {
			p.t.Errorf("the client hears of the broker's address or kind: %v", got)
		}
	}
}

// TestABrokerThatIsAwayIs503AndComesBack kills the broker of a gateway, which
// serves on, and starts it again.
func TestABrokerThatIsAwayIs503AndComesBack(t *testing.T) {
	p, server, restart := awayGateway(t)
	const path = "/broker?topic=" + eventTopic
	s := p.subscribe(p.address, path)
	if got := p.post(p.address, path, "before"); got.status != http.StatusAccepted {
		t.Fatalf("POST = %v", got)
	}
	if m := p.receive(s); m.body != "before" {
		t.Errorf("the subscriber got %+v, want the message", m)
	}

	server.kill()
	p.await(func() bool { return p.post(p.address, path, "away").status == http.StatusServiceUnavailable }, "503")
	p.unavailable()
	got := p.request(http.MethodGet, p.address, path+"&from=earliest", "", "Accept", "text/event-stream")
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("GET of events without a broker = %v %v, want 503 and a time", got, got.header)
	}
	if got := p.status(p.admin, "/readyz"); got != http.StatusOK {
		t.Errorf("/readyz without a broker = %d, want 200: requests are served", got)
	}
	checkFailure(t, []string{"publish", "--admin", p.admin, eventTopic, "away"}, "503 the broker cannot be reached")

	restart()
	p.await(func() bool { return p.post(p.address, path, "after").status == http.StatusAccepted }, "202 again")
	for m := p.receive(s); m.body != "after"; m = p.receive(s) { // what could not be known to be published may be
		if m.body != "away" {
			t.Errorf("the subscriber got %+v", m)
		}
	}
}

// TestABrokerThatHangsIs503 stops the process of a broker for a while.
func TestABrokerThatHangsIs503(t *testing.T) {
	p, server, _ := awayGateway(t)
	server.freeze()
	defer func() { _ = server.cmd.Process.Signal(syscall.SIGCONT) }()
	got := p.post(p.address, "/broker?topic="+eventTopic, "held", "Idempotency-Key", "held")
	if got.status != http.StatusServiceUnavailable && got.status != http.StatusGatewayTimeout {
		t.Errorf("POST to a broker that hangs = %v, want 503 or 504", got)
	}
	if err := server.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	p.await(func() bool {
		return p.post(p.address, "/broker?topic="+eventTopic, "held", "Idempotency-Key", "held").status == http.StatusAccepted
	}, "202 again")
	if got := bodies(p.published(eventTopic)); len(got) != 1 {
		t.Errorf("%q was published under one key, want it once", got)
	}
}

// freeze stops the process, and waits until it stands still: it may go on for a moment
// when it was told.
func (p *process) freeze() {
	p.t.Helper()
	pid := p.cmd.Process.Pid
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || !status.Stopped() {
			p.t.Fatalf("Wait4 = %v, status %v, want that the process has stopped", err, status)
		}
		return
	}
}

// TestABrokerThatIsAwayAtTheStart starts the gateway before its broker.
func TestABrokerThatIsAwayAtTheStart(t *testing.T) {
	for _, url := range []string{"nats://user:secret@ADDRESS", "nats+micro://ADDRESS", "nats://ADDRESS?jetstream=false"} {
		t.Run(url, func(t *testing.T) {
			bus := []string{"--nats", registrytest.FreeAddress(t, registrytest.Loopback()), "--data", t.TempDir()}
			p := startGateway(t, append(eventFlags(), "--registry", "memory:", "--broker", strings.Replace(url, "ADDRESS", bus[1], 1))...)
			p.unavailable()
			if got := p.status(p.admin, "/readyz"); got != http.StatusOK {
				t.Errorf("/readyz without a broker = %d, want 200: requests are served", got)
			}
			taker := startTaker(t)
			taker.announce(p) // which has messages pushed once there are any

			startGateway(t, bus...)
			n := 0
			p.await(func() bool {
				n++
				return p.post(p.address, "/broker?topic="+eventTopic, "token:"+strconv.Itoa(n)+";").status == http.StatusAccepted && taker.any()
			}, "202, and a push")
			log := p.logged()
			if !strings.Contains(log, "broker cannot be reached") || !strings.Contains(log, "broker found") || strings.Contains(log, "secret") {
				t.Errorf("the log has neither loss nor return of the broker, or the password:\n%s", log)
			}
		})
	}
}
