package test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

func TestTermination(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "whole")
	}))
	defer slow.Close()
	p := startGateway(t)
	p.register(&registry.Service{
		Name:  "slow",
		Nodes: []*registry.Node{{ID: "slow-1", Address: slow.Listener.Addr().String()}},
	}, 0)

	answer := make(chan string, 1)
	go func() {
		status, body := p.get(p.address, "/slow/x")
		answer <- fmt.Sprint(status, " ", body)
	}()
	<-arrived
	p.terminate()
	p.await(func() bool { return p.status(p.admin, "/readyz") == http.StatusServiceUnavailable }, "failing /readyz")
	p.await(func() bool {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	}, "closed listener")
	if got := p.status(p.admin, "/healthz"); got != http.StatusOK {
		t.Errorf("/healthz while draining = %d, want 200", got)
	}
	close(release)
	if got, want := <-answer, "200 whole"; got != want {
		t.Errorf("request in flight = %q, want %q", got, want)
	}
	if got := p.wait(); got != 0 {
		t.Errorf("exit status after SIGTERM = %d, want 0\n%s", got, p.logged())
	}
}

func TestRegistrationsSurviveARestart(t *testing.T) {
	data := t.TempDir()
	n := startNode(t, "n1")
	p := startGateway(t, "--data", data)
	p.register(announced("web", n), 0)
	p.kill()

	p = startGateway(t, "--data", data)
	p.await(func() bool { return p.status(p.address, "/web/x") == http.StatusOK }, "route after the restart")
}

func TestAddressesInUse(t *testing.T) {
	l, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for _, command := range [][]string{{"run", "--data", t.TempDir()}, {"demo"}} {
		for _, flag := range []string{"address", "admin", "nats"} {
			t.Run(command[0]+" "+flag, func(t *testing.T) {
				args := append([]string{}, command...)
				for _, f := range []string{"address", "admin", "nats"} {
					value := "127.0.0.1:0"
					if f == flag {
						value = taken
					}
					args = append(args, "--"+f, value)
				}
				checkFailure(t, args, taken+" is in use by another program: choose another address with --"+flag+" HOST:PORT")
			})
		}
	}
}

func TestDataInUse(t *testing.T) {
	data := t.TempDir()
	startGateway(t, "--data", data)
	checkFailure(t, []string{"run", "--data", data, "--address", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--nats", "off"},
		"--data "+data, "in use")
}

// TestInterruptedStart ends a gateway that waits for its registry.
func TestInterruptedStart(t *testing.T) {
	l, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command(binary, "run", "--data", t.TempDir(), "--registry", "nats://"+l.Addr().String(),
		"--address", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--nats", "off")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept() // and never a word
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || stderr.String() != "" {
		t.Errorf("goapi run after Ctrl-C during its start: %v, %q; want status 0 and no word", err, stderr.String())
	}
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args string
		want string
	}{
		{"run --resolver nosuch", "micro, path, vpath, host, grpc, subdomain"},
		{"run --handler nosuch", "want auto, rpc, http, web or api"},
		{"run --registry nosuch://x", "known schemes: consul:"},
		{"run --registry nats://user:secret@127.0.0.1:1?nosuch=1", "nosuch"},
		{"run --registry nats://127.0.0.1:1?token=secret", "token"},
		{"run --registry memory:?x=1", "takes no address and no parameters"},
		{"run --drain 0s", "want a time above 0"},
		{"demo --admin 0.0.0.0:0", "for this machine only"},
		{"run --log-level loud", "want debug, info, warn or error"},
		{"run --log-format xml", "want text or json"},
		{"run --admin 0.0.0.0:0", "--admin-token-file"},
		{"run --nats :0", "--nats-token-file"},
		{"run --admin-token-file " + empty, "holds no token"},
		{"run --address nonsense", "want HOST:PORT"},
		{"run --trusted-proxy x", "want an IP address or a CIDR"},
		{"run --upstream-ca " + empty, "holds no PEM certificate"},
		{"run --nosuch", "unknown flag: --nosuch"},
		{"nosuch", `unknown command "nosuch"`},
		{"services --admin 127.0.0.1:1", "no gateway answers there"},
		{"call greeter", "write goapi call SERVICE ENDPOINT [JSON]"},
		{"call greeter Greeter.Hello {", "not JSON"},
		{"register --name x", "needs --name and --address"},
		{"register --name x --address 127.0.0.1", "nodes[0].address"},
		{"register --name x --address 127.0.0.1:1 --ttl 1ms", "at least 1s"},
		{"register --name x --address 127.0.0.1:1 --protocol soap", "want http, grpc or mucp"},
		{"register --name x --address 127.0.0.1:1 --endpoint X;colour=red", `"colour=red" is not known`},
		{"register --name x --address 127.0.0.1:1 --endpoint path=/x", "has no name"},
		{"register --name x --address 127.0.0.1:1 --metadata x", "want key=value"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			args := strings.Fields(tt.args)
			if args[0] == "run" {
				for _, f := range []string{"--address", "--admin", "--nats"} {
					if !strings.Contains(tt.args, f+" ") {
						args = append(args, f, "127.0.0.1:0")
					}
				}
				args = append(args, "--data", t.TempDir())
			}
			checkFailure(t, args, tt.want)
		})
	}
}

// TestSecretsStayOutOfTheLog follows two registries, of which one needs a
// password and is lost.
func TestSecretsStayOutOfTheLog(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bus := startGateway(t, "--nats", "127.0.0.1:0", "--nats-token-file", token)
	p := startGateway(t, "--registry", "memory:", "--registry", "nats://s3cret@"+bus.nats)
	bus.kill()
	p.await(func() bool { return strings.Contains(p.logged(), bus.nats) }, "word of the lost registry")
	out, _, _ := p.command("routes")
	if !strings.Contains(out, "cannot be followed since") {
		t.Errorf("routes = %s, want word of the lost registry", out)
	}
	for _, log := range []string{out, p.logged(), bus.logged()} {
		if strings.Contains(log, "s3cret") {
			t.Errorf("the log shows the token:\n%s", log)
		}
	}
}

// checkFailure checks that a command fails with status 1 and one line that says
// what is wanted.
func checkFailure(t *testing.T, args []string, want ...string) {
	t.Helper()
	began := time.Now()
	stdout, stderr, status := command(t, args...)
	line := strings.TrimSuffix(stderr, "\n")
	says := !slices.ContainsFunc(want, func(s string) bool { return !strings.Contains(line, s) })
	if status != 1 || strings.Contains(line, "\n") || !strings.HasPrefix(line, "goapi: ") || !says {
		t.Errorf("goapi %s = status %d, %q; want status 1 and one line with %q", strings.Join(args, " "), status, stderr, want)
	}
	if strings.Contains(stderr, "secret") {
		t.Errorf("the error shows a password: %s", stderr)
	}
	if stdout != "" {
		t.Errorf("it printed %q besides", stdout)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it took %s", took)
	}
}

// TestServiceManagerIsTold: systemd learns when requests are served, and that the
// gateway stops.
func TestServiceManagerIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	p := startGateway(t, "--registry", "memory:")
	told := func() string {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("systemd is told nothing: %v\n%s", err, p.logged())
		}
		return string(b[:n])
	}
	if got := told(); got != "READY=1" {
		t.Errorf("systemd is told %q, want that it is ready", got)
	}
	p.terminate()
	if got := told(); got != "STOPPING=1" {
		t.Errorf("systemd is told %q, want that it stops", got)
	}
	p.wait()
}
