package test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry/registrytest"
)

const (
	// killRounds is how often each of the two tests kills.
	killRounds = 20
	// killAfter is how much each publisher has published since the last kill.
	killAfter = 50
)

// TestNoAcceptedMessageIsLostWhenTheGatewayIsKilled kills the gateway and the
// bus in it, again and again, while clients publish, one receives, and a service
// has all pushed to it.
func TestNoAcceptedMessageIsLostWhenTheGatewayIsKilled(t *testing.T) {
	t.Parallel() // with the other: both wait for a minute
	args := append(eventFlags(), "--data", t.TempDir(),
		"--address", registrytest.FreeAddress(t, registrytest.Loopback()), "--admin", registrytest.FreeAddress(t, registrytest.Loopback()))
	p := startGateway(t, args...)
	surviveKills(t, p, func(int) *process {
		p.kill()
		p = startGateway(t, args...)
		return p
	})
}

// TestNoAcceptedMessageIsLostWhenTheServerIsKilled kills by turns a NATS server
// and the gateway that uses it.
func TestNoAcceptedMessageIsLostWhenTheServerIsKilled(t *testing.T) {
	t.Parallel() // as above
	bus := []string{"--nats", registrytest.FreeAddress(t, registrytest.Loopback()), "--data", t.TempDir()}
	server := startGateway(t, bus...)
	args := append(eventFlags(), "--registry", "memory:", "--broker", "nats://"+server.nats,
		"--address", registrytest.FreeAddress(t, registrytest.Loopback()), "--admin", registrytest.FreeAddress(t, registrytest.Loopback()))
	p := startGateway(t, args...)
	surviveKills(t, p, func(round int) *process {
		if round%2 == 0 {
			server.kill()
			server = startGateway(t, bus...)
			return p
		}
		p.kill()
		p = startGateway(t, args...)
		return p
	})
}

// surviveKills publishes in all ways while kill kills something and starts it
// again, and checks what arrived: with one who received all the while, with a
// service to which all was pushed, and with one who reads from the earliest
// message on at the end. Kill returns the gateway that runs.
func surviveKills(t *testing.T, p *process, kill func(round int) *process) {
	t.Helper()
	var accepted ledger
	w := watch(t, "http://"+p.address+"/broker?topic="+eventTopic+"&from=earliest")
	s := startTaker(t)
	s.begin(p)
	load := startEvents(t, p.address, &accepted)
	for round := range killRounds {
		load.await(t, killAfter)
		p = kill(round)
		s.announce(p) // to one that has its registry in memory
	}
	load.await(t, killAfter)
	load.end()
	t.Logf("%d requests were sent again", load.retries.Load())
	for _, wrong := range load.errors() {
		t.Error(wrong)
	}
	const last = "last"
	if out, stderr, status := p.command("publish", eventTopic, "token:"+last+";"); status != 0 {
		t.Fatalf("publish = %d %s%s", status, out, stderr)
	}
	accepted.accept(last, "")
	accepted.judge(p.history(last)).check(t, "goapi subscribe --from earliest")
	accepted.judge(w.await(accepted.tokens(), patience)).check(t, "EventSource")
	accepted.judge(s.await(accepted.tokens(), overdue)).check(t, "pushed service")
	if w.connected() < killRounds/2 {
		t.Errorf("the EventSource connected %d times, want as often as the gateway was killed", w.connected())
	}
}

// history returns what goapi subscribe prints from the earliest message on, up
// to the one with a token.
func (p *process) history(last string) []message {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "subscribe", "--admin", p.admin, "--from", "earliest", eventTopic)
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}()
	var list []message
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var m struct {
			ID, Topic string
			Body      json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			p.t.Fatalf("goapi subscribe prints %q: %v", lines.Text(), err)
		}
		list = append(list, message{id: m.ID, topic: m.Topic, body: string(m.Body)})
		if tokenIn(string(m.Body)) == last {
			return list
		}
	}
	p.t.Errorf("goapi subscribe ended before the last message, after %d\n%s", len(list), p.logged())
	return list
}

// A watcher receives messages as an EventSource does: when the connection ends
// it connects again, with the position of the last message.
type watcher struct {
	url string

	mu       sync.Mutex
	messages []message
	times    int           // that it was connected
	more     chan struct{} // holds a value when there are more messages
}

// watch starts a watcher, which ends with the test, and fails that if it is
// told what no EventSource tries again after.
func watch(t *testing.T, url string) *watcher {
	t.Helper()
	w := &watcher{url: url, more: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("EventSource: %v", err)
		}
	})
	return w
}

func (w *watcher) run(ctx context.Context) error {
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	var last []string // the header
	for ctx.Err() == nil {
		s, err := openEvents(ctx, &http.Client{Transport: transport}, w.url, last...)
		var refused *statusError
		if errors.As(err, &refused) && refused.status != http.StatusServiceUnavailable && refused.status != http.StatusGatewayTimeout {
			return err
		}
		if err == nil {
			last = w.read(s, last)
		}
		select { // as an EventSource does, which takes longer
		case <-ctx.Done():
		case <-time.After(eventBackOff):
		}
	}
	return nil
}

// read takes messages until the stream ends, and returns the header to go on
// with.
func (w *watcher) read(s *eventSource, last []string) []string {
	defer s.close()
	w.mu.Lock()
	w.times++
	w.mu.Unlock()
	for {
		m, err := s.next()
		if err != nil {
			return last
		}
		if m.position != "" {
			last = []string{"Last-Event-ID", m.position}
		}
		w.add(m)
	}
}

// add notes a message.
func (w *watcher) add(m message) {
	w.mu.Lock()
	w.messages = append(w.messages, m)
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// any says whether there was a message.
func (w *watcher) any() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.messages) > 0
}

func (w *watcher) connected() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.times
}

// await returns the messages when all tokens are among them, or after a while.
func (w *watcher) await(tokens map[string]string, within time.Duration) []message {
	late := time.NewTimer(within)
	defer late.Stop()
	for seen := 0; ; {
		w.mu.Lock()
		list := slices.Clone(w.messages)
		w.mu.Unlock()
		for ; seen < len(list); seen++ {
			delete(tokens, tokenIn(list[seen].body))
		}
		if len(tokens) == 0 {
			return list
		}
		select {
		case <-w.more:
		case <-late.C:
			return list
		}
	}
}
