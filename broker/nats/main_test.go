package nats_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/nats"
	conns "github.com/goapi-dev/goapi/nats"
)

// serverDir makes the test binary a NATS server that keeps its store there.
const (
	serverDir     = "GOAPI_TEST_SERVER_DIR"
	serverAddress = "GOAPI_TEST_SERVER_ADDRESS"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(serverDir); dir != "" {
		if err := serve(dir, os.Getenv(serverAddress)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv(publisherDir); dir != "" {
		fmt.Fprintln(os.Stderr, publishForever(dir, os.Getenv(publisherRound), os.Stdout))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// serve serves until standard input ends.
func serve(dir, address string) error {
	s, err := conns.Start(context.Background(), dir, &conns.ServerOptions{Address: address})
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Println(s.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// A process is a server in a process of its own, which can be killed.
type process struct {
	dir, addr string

	mu    sync.Mutex
	cmd   *exec.Cmd
	stdin io.Closer
}

func startProcess(t testing.TB) *process {
	t.Helper()
	p := &process{dir: t.TempDir(), addr: "127.0.0.1:0"}
	p.start(t)
	t.Cleanup(p.kill)
	return p
}

func (p *process) start(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), serverDir+"="+p.dir, serverAddress+"="+p.addr)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.cmd, p.stdin = cmd, stdin
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the server did not start: %v", err)
	}
	p.addr = strings.TrimSpace(line)
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.stdin.Close()
}

func start(t testing.TB, dir string, opts *conns.ServerOptions) *conns.Server {
	t.Helper()
	s, err := conns.Start(t.Context(), dir, opts)
	if err != nil {
		t.Fatalf("Start() error = %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func tryOpen(ctx context.Context, address string, s *conns.Server) (*nats.Broker, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return nats.Open(ctx, u, &nats.Options{Conns: &conns.Conns{Embedded: s}})
}

func open(t testing.TB, address string, s *conns.Server) *nats.Broker {
	t.Helper()
	b, err := tryOpen(bound(t), address, s)
	if err != nil {
		t.Fatalf("Open(%q) error = %v", address, err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := b.Close(); err != nil {
				t.Errorf("Close() error = %v", err)
			}
		}
	})
	return b
}

func bound(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func publish(t testing.TB, b broker.Publisher, topic, id string) {
	t.Helper()
	if err := b.Publish(bound(t), topic, &broker.Message{ID: id, Body: []byte(id)}); err != nil {
		t.Fatalf("Publish(%q, %q) error = %v", topic, id, err)
	}
}

func subscribe(t testing.TB, b broker.Subscriber, topic string, opts *broker.SubscribeOptions) broker.Subscription {
	t.Helper()
	s, err := b.Subscribe(bound(t), topic, opts)
	if err != nil {
		t.Fatalf("Subscribe(%q) error = %v", topic, err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func next(t testing.TB, s broker.Subscription) *broker.Delivery {
	t.Helper()
	d, err := s.Next(bound(t))
	if err != nil {
		t.Fatalf("Next() error = %v", err)
	}
	return d
}

// take acknowledges the next deliveries, which are to have the given IDs.
func take(t testing.TB, s broker.Subscription, ids ...string) {
	t.Helper()
	for _, id := range ids {
		d := next(t, s)
		if d.ID != id {
			t.Fatalf("Next() = %q, want %q", d.ID, id)
		}
		if err := d.Ack(bound(t)); err != nil {
			t.Fatalf("Ack() error = %v", err)
		}
	}
}
