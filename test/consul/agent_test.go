package consul_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// program is the agent, once TestMain has built it.
var program string

func TestMain(m *testing.M) {
	var err error
	if program, err = build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// build builds the agent, or finds that it is built already. It returns its
// path.
func build() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "goapi", "consul-1.10.12")
	// The agent is older than the rule that its dependencies break.
	cmd := exec.Command("go", "build", "-ldflags=-checklinkname=0", "-o", path, "github.com/hashicorp/consul")
	cmd.Dir = "agent"
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return path, nil
}

// A process is a running agent. It is a cluster of its own.
type process struct {
	t       testing.TB
	address string // of its HTTP API
	args    []string
	cmd     *exec.Cmd
	log     *os.File
}

// start starts an agent that ends with the test. With a directory it keeps what
// it holds there; without one it holds it in memory.
func start(t testing.TB, dir, config string) *process {
	t.Helper()
	ports := freePorts(t, 4)
	p := &process{t: t, address: "127.0.0.1:" + ports[0]}
	p.args = []string{
		"agent", "-bind=127.0.0.1", "-node=node-1", "-log-level=warn",
		"-server-port=" + ports[1], "-serf-lan-port=" + ports[2], "-serf-wan-port=-1", "-dns-port=-1", "-grpc-port=-1",
	}
	if dir == "" {
		p.args = append(p.args, "-dev")
	} else {
		p.args = append(p.args, "-server", "-bootstrap-expect=1", "-data-dir="+dir, "-hcl=performance { raft_multiplier = 1 }")
	}
	if strings.Contains(config, "{{https}}") {
		p.args = append(p.args, "-http-port=-1")
		config = strings.ReplaceAll(config, "{{https}}", ports[0])
	} else {
		p.args = append(p.args, "-http-port="+ports[0])
	}
	p.args = append(p.args, "-hcl="+config+"\ndisable_update_check = true")
	p.run()
	t.Cleanup(p.kill)
	return p
}

// run runs the agent, and returns when it has a leader and its own node.
func (p *process) run() {
	p.t.Helper()
	var err error
	if p.log, err = os.CreateTemp(p.t.TempDir(), "log"); err != nil {
		p.t.Fatal(err)
	}
	p.cmd = exec.Command(program, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// ready waits until the agent serves what it is asked, over HTTP and without a
// token.
func (p *process) ready() *process {
	p.t.Helper()
	p.await(func() bool {
		_, body, err := p.get("/v1/health/service/consul")
		return err == nil && strings.Contains(body, `"passing"`)
	})
	return p
}

// await tries again until it succeeds: a process that starts tells nobody.
func (p *process) await(done func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			log, err := os.ReadFile(p.log.Name())
			p.t.Fatalf("the agent is not ready: %s %v", log, err)
		}
	}
}

// kill ends the agent, as a power cut does.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Kill()
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		p.t.Error(err)
	}
	p.log.Close()
	p.cmd = nil
}

// get asks the agent.
func (p *process) get(path string) (int, string, error) {
	return p.do(http.MethodGet, path, "", "")
}

// header asks the agent, and returns the header of its answer.
func (p *process) header(path string) (http.Header, error) {
	resp, err := http.Get("http://" + p.address + path)
	if err != nil {
		return nil, err
	}
	defer http.DefaultClient.CloseIdleConnections()
	return resp.Header, resp.Body.Close()
}

// put tells the agent something.
func (p *process) put(path, body string) {
	p.t.Helper()
	if status, answer, err := p.do(http.MethodPut, path, body, ""); err != nil || status != http.StatusOK {
		p.t.Fatalf("PUT %s: %d %s %v", path, status, answer, err)
	}
}

func (p *process) do(method, path, body, token string) (int, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.address+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Close = true // the agents of other tests come and go on other ports
	if token != "" {
		req.Header.Set("X-Consul-Token", token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

// freePorts returns ports that nothing listens on, below those that the system
// gives to clients.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	var ports []string
	for port := 10_000 + os.Getpid()%10_000; len(ports) < n; port++ {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		ports = append(ports, strconv.Itoa(port))
		defer l.Close()
	}
	return ports
}
