package test

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/registry"
)

func TestServicesAndRoutes(t *testing.T) {
	p := startGateway(t)
	if out, _, status := p.command("services"); status != 0 || out != "No service is registered.\n" {
		t.Errorf("services of an empty registry = %d, %q", status, out)
	}
	s := announced("web", startNode(t, "n1"))
	s.Endpoints = append(s.Endpoints,
		&registry.Endpoint{Name: "Bad", Metadata: map[string]string{"endpoint": "Bad", "handler": "http", "path": "^/half"}},
		&registry.Endpoint{Name: "Odd", Metadata: map[string]string{"endpoint": "Odd", "handler": "nosuch", "path": "/odd"}})
	p.register(s, 0)
	p.register(&registry.Service{Name: "other", Endpoints: s.Endpoints[:1], Nodes: []*registry.Node{{ID: "o1", Address: "127.0.0.1:9"}}}, 0)

	out, _, _ := p.command("services")
	if !strings.Contains(out, "n1") || !strings.Contains(out, "SERVICE") || !strings.Contains(out, "up") {
		t.Errorf("services = %s, want a table with node n1 that is up", out)
	}
	out, _, _ = p.command("routes")
	for _, want := range []string{"/web/**", "^/half", "nosuch", "conflict"} {
		if !strings.Contains(out, want) {
			t.Errorf("routes = %s, want %q in it", out, want)
		}
	}
	out, _, _ = p.command("routes", "--json")
	var routes admin.Routes
	if err := json.Unmarshal([]byte(out), &routes); err != nil {
		t.Fatalf("routes --json: %v\n%s", err, out)
	}
	if len(routes.Routes) != 1 || len(routes.Reports) < 3 {
		t.Errorf("routes --json has %d routes and %d reports, want 1 and at least 3", len(routes.Routes), len(routes.Reports))
	}
}

func TestRegisterACommand(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("python3 is needed for a service in another language: ", err)
	}
	l, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := strings.Cut(address, ":")

	p := startGateway(t)
	cmd := exec.Command(binary, "register", "--admin", p.admin, "--name", "files", "--address", address,
		"--endpoint", "Files;method=GET;path=/files/**;strip=/files", "--",
		python, "-m", "http.server", "--bind", "127.0.0.1", "--directory", filepath.Join("..", "test"), port)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	p.await(func() bool { return p.status(p.address, "/files/doc.go") == http.StatusOK }, "file through the gateway")

	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("register after Ctrl-C: %v\n%s", err, stderr.String())
	}
	if got := p.nodes("files"); len(got) != 0 {
		t.Errorf("nodes after the withdrawal = %v, want none", got)
	}
}

func TestRegisterReturnsTheCommandsStatus(t *testing.T) {
	p := startGateway(t)
	_, _, status := p.command("register", "--name", "x", "--address", "127.0.0.1:1", "--", "sh", "-c", "exit 7")
	if status != 7 {
		t.Errorf("exit status = %d, want the command's 7", status)
	}
}

func TestCall(t *testing.T) {
	p := startGateway(t)
	_, stderr, status := p.command("call", "nosuch", "A.B")
	if status != 1 || !strings.Contains(stderr, "nosuch") {
		t.Errorf("call of an unknown service = %d, %q; want status 1 and its name", status, stderr)
	}
}

func TestVersion(t *testing.T) {
	out, _, status := command(t, "version")
	if status != 0 || !strings.HasPrefix(out, "goapi ") || !strings.Contains(out, "go1.") {
		t.Errorf("version = %d, %q", status, out)
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	out, _, _ := command(t, "--help")
	for _, want := range []string{"run", "demo", "services", "routes", "call", "register", "version"} {
		if !strings.Contains(out, "\n  "+want+" ") {
			t.Errorf("--help does not name %s:\n%s", want, out)
		}
	}
}
