package test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A configured gateway is one with a file.
type configured struct {
	*process

	file string
}

// startConfigured starts a gateway with a configuration.
func startConfigured(t *testing.T, text string, args ...string) *configured {
	t.Helper()
	file := filepath.Join(t.TempDir(), "goapi.yaml")
	write(t, file, text)
	return &configured{startGateway(t, append([]string{"--config", file, "--registry", "memory:"}, args...)...), file}
}

// write replaces a file as a whole, as operators and tools do.
func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// change replaces the configuration, and waits until the log says what became of
// it.
func (c *configured) change(text, said string) {
	c.t.Helper()
	before := strings.Count(c.logged(), said)
	write(c.t, c.file, text)
	c.await(func() bool { return strings.Count(c.logged(), said) > before }, fmt.Sprintf("%q in the log", said))
}

const reloaded = "configuration reloaded"

// operated returns a configuration with a route to a server.
func operated(s *httptest.Server, rest string) string {
	return fmt.Sprintf("routes: [{match: /web/**, to: [%q]}]\n%s", s.Listener.Addr(), rest)
}

// startEcho starts a server that answers with what it gets: the path and some
// headers. Below /web/open it goes on until the client leaves.
func startEcho(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/web/open") {
			_, _ = io.WriteString(w, "open\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		fmt.Fprintf(w, `{"request":%q,"user":%q,"key":%q}`, strings.TrimPrefix(r.URL.Path, "/web/"), r.Header.Get("X-User"), r.Header.Get("X-Api-Key"))
	}))
	t.Cleanup(s.Close)
	return s
}

// TestReloadUnderLoad: configurations follow one another under load, good and
// bad ones; no request fails, and no connection is dropped.
func TestReloadUnderLoad(t *testing.T) {
	s := startEcho(t)
	c := startConfigured(t, operated(s, "policy: {timeout: 5s}"))
	c.await(func() bool { return c.status(c.address, "/web/x") == http.StatusOK }, "route")
	rsp, err := http.Get("http://" + c.address + "/web/open")
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	open := make([]byte, 5)
	if _, err := io.ReadFull(rsp.Body, open); err != nil {
		t.Fatal(err)
	}
	load := startLoad(t, c.address, "web", 0)
	c.change(operated(s, "policy: {timeout: 6s, max_in_flight: 100}"), reloaded)
	c.change(operated(s, "policy: {timeot: 7s}"), "nothing has changed")
	c.change(operated(s, "policy: {timeout: 8s}\npatterns: [{match: /web/**, timeout: 9s}]"), reloaded)
	c.change(operated(s, "policy: {timeout: 8s}\nservices: {other: {timeout: 1s}}"), reloaded)
	results := load.end()
	for _, r := range results {
		if r.err != nil {
			t.Errorf("under reloads: %s", &r)
		}
	}
	if len(results) < rate/10 {
		t.Errorf("%d requests were sent, want some", len(results))
	}
	ended := make(chan struct{})
	go func() { // ends with the connection
		defer close(ended)
		_, _ = rsp.Body.Read(open)
	}()
	select {
	case <-ended:
		t.Error("a connection was dropped by a reload")
	case <-time.After(100 * time.Millisecond):
	}
	rsp.Body.Close()
	<-ended
}

// TestReloadChangesAllOrNothing: what cannot be taken over changes nothing, and
// the log says why, in a line that names the place.
func TestReloadChangesAllOrNothing(t *testing.T) {
	s := startEcho(t)
	first := operated(s, "policy: {deny: [192.0.2.0/24]}")
	c := startConfigured(t, first)
	c.await(func() bool { return c.status(c.address, "/web/x") == http.StatusOK }, "route")
	tests := []struct{ name, text, said string }{
		{"a mistake", operated(s, "policy: {deny: [127.0.0.0/8]}\nnosuch: 1"), "goapi.yaml:3:1: nosuch: unknown key"},
		{"a fixed key", operated(s, "policy: {deny: [127.0.0.0/8]}\nresolver: path"), "resolver cannot change while the gateway runs"},
		{"a route that is none", fmt.Sprintf("policy: {deny: [127.0.0.0/8]}\nroutes: [{match: \"/{a}/{a}\", to: [%q]}]", s.Listener.Addr()), "goapi.yaml:2:10: routes[0]: it would not be routed"},
		{"a file that is not there", operated(s, "policy: {deny: [127.0.0.0/8]}\nidentity: {keys: {partners: {file: nosuch}}}"), "identity.keys.partners.file"},
	}
	for _, tt := range tests {
		c.change(tt.text, tt.said)
		if got := c.status(c.address, "/web/x"); got != http.StatusOK {
			t.Errorf("%s: GET = %d, want 200 as before", tt.name, got)
		}
	}
	c.change(operated(s, "policy: {deny: [127.0.0.0/8]}"), reloaded)
	if got := c.status(c.address, "/web/x"); got != http.StatusForbidden {
		t.Errorf("GET = %d, want 403 as the file says now", got)
	}
	before := strings.Count(c.logged(), reloaded)
	if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	c.await(func() bool { return strings.Count(c.logged(), reloaded) > before }, "reload after SIGHUP")
}

// TestReloadOfAFileInSteps: while the configuration is written bit by bit, what is
// protected stays so, and a file that is emptied changes nothing.
func TestReloadOfAFileInSteps(t *testing.T) {
	s := startEcho(t)
	keys := filepath.Join(t.TempDir(), "keys.txt")
	line, _, _ := command(t, "key", "partner")
	write(t, keys, line)
	head := fmt.Sprintf("identity: {keys: {partners: {file: %s}}}\n%s", keys, operated(s, ""))
	const tail = "patterns: [{match: /web/admin/**, auth: {any: [keys/partners]}}]\n"
	c := startConfigured(t, head+tail)
	c.await(func() bool { return c.status(c.address, "/web/x") == http.StatusOK }, "route")
	add := func(flags int, text string) {
		f, err := os.OpenFile(c.file, os.O_WRONLY|flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	before := strings.Count(c.logged(), reloaded)
	add(os.O_TRUNC, head)
	for written := time.Now(); time.Since(written) < 1500*time.Millisecond; {
		if got := c.status(c.address, "/web/admin/x"); got != http.StatusUnauthorized {
			t.Fatalf("GET of what is protected = %d while the file is written, want 401", got)
		}
	}
	add(os.O_APPEND, tail+"policy: {timeout: 9s}\n")
	c.await(func() bool { return strings.Count(c.logged(), reloaded) > before }, "reload")
	if got := strings.Count(c.logged(), reloaded) - before; got != 1 {
		t.Errorf("the configuration was reloaded %d times, want once", got)
	}
	add(os.O_TRUNC, "# soon\n")
	c.await(func() bool { return strings.Contains(c.logged(), "it is empty: write {}") }, "refusal of an empty file in the log")
	if got := c.status(c.address, "/web/admin/x"); got != http.StatusUnauthorized {
		t.Errorf("GET of what is protected = %d after the file was emptied, want 401", got)
	}
	if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	c.await(func() bool { return c.status(c.address, "/web/admin/x") == http.StatusNotFound }, "end of all routes after SIGHUP")
}

// TestWhoMayPass: keys let in whom they are for; the service is told who it is,
// and nobody else can say so.
func TestWhoMayPass(t *testing.T) {
	s := startEcho(t)
	dir := t.TempDir()
	line, key, status := command(t, "key", "partner", "web:read")
	if status != 0 {
		t.Fatal(key)
	}
	key = strings.TrimSpace(key[strings.IndexByte(key, '\n')+1:])
	keys := filepath.Join(dir, "keys.txt")
	write(t, keys, line)
	c := startConfigured(t, operated(s, fmt.Sprintf(`
identity: {keys: {partners: {file: %s}}}
patterns:
  - match: /web/closed/**
    auth: {any: [keys/partners], scopes: ["web:read"], headers: {X-User: subject}}
`, keys)))
	c.await(func() bool { return c.status(c.address, "/web/x") == http.StatusOK }, "route")
	tests := []struct {
		name, path string
		header     []string
		status     int
		want       string
	}{
		{"nobody", "/web/closed/x", nil, http.StatusUnauthorized, "credentials"},
		{"the partner", "/web/closed/x", []string{"X-API-Key", key}, http.StatusOK, `"user":"partner","key":""`},
		{"the partner as another", "/web/closed/x", []string{"X-API-Key", key, "X-User", "root"}, http.StatusOK, `"user":"partner"`},
		{"a wrong key", "/web/closed/x", []string{"X-API-Key", key[1:] + "x"}, http.StatusUnauthorized, ""},
		{"an open path", "/web/free", nil, http.StatusOK, ""},
		{"a forged user on an open path", "/web/x", []string{"X-User", "root"}, http.StatusOK, `"user":""`},
		{"around it by an escape", "/web/%63losed/x", nil, http.StatusUnauthorized, ""},
		{"around it by two slashes", "/web//closed/x", nil, http.StatusBadRequest, ""},
	}
	for _, tt := range tests {
		got, body := c.get(c.address, tt.path, tt.header...)
		if got != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: GET %s = %d %s, want %d with %s", tt.name, tt.path, got, body, tt.status, tt.want)
		}
	}
	other, _, _ := command(t, "key", "another")
	write(t, keys, other)
	c.await(func() bool {
		got, _ := c.get(c.address, "/web/closed/x", "X-API-Key", key)
		return got == http.StatusUnauthorized
	}, "end of a key that was taken out of its file")
	if log := c.logged(); strings.Contains(log, key) {
		t.Error("the log has a key")
	}
}

// TestCheckLive: what a configuration would change is listed before it does.
func TestCheckLive(t *testing.T) {
	s := startEcho(t)
	c := startConfigured(t, operated(s, "policy: {timeout: 5s, max_body: 1KiB}"))
	c.await(func() bool { return c.status(c.address, "/web/x") == http.StatusOK }, "route")
	next := filepath.Join(t.TempDir(), "next.yaml")
	write(t, next, operated(s, "policy: {timeout: 6s, hash_by: \"header:X-User\"}\npatterns: [{match: /web/a/**, deny: [10.0.0.0/8]}]"))
	out, errs, status := c.command("check", "--live", next)
	route := "any /web/** of static/web/** at " + s.Listener.Addr().String()
	for _, want := range []string{"~ " + route + ": timeout 6s, was 5s", "- " + route + ": max_body 1KiB", "+ " + route + ": hash_by header:X-User", "+ pattern /web/a/**: deny [\"10.0.0.0/8\"]"} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("goapi check --live = %d %s%s, want %q", status, out, errs, want)
		}
	}
	out, errs, status = c.command("check", "--live", c.file)
	if status != 0 || !strings.Contains(out, "would change nothing") {
		t.Errorf("goapi check --live of the same = %d %s%s, want that nothing changes", status, out, errs)
	}
	write(t, next, "polcy: {}\n")
	_, errs, status = command(t, "check", next)
	if status != 1 || !strings.Contains(errs, "next.yaml:1:1: polcy: unknown key; did you mean policy?") {
		t.Errorf("goapi check of a mistake = %d %s, want the line", status, errs)
	}
}

// TestFlagsWinOverTheFile: as the environment does.
func TestFlagsWinOverTheFile(t *testing.T) {
	s := startEcho(t)
	c := startConfigured(t, operated(s, "resolver: none\nlog_level: error\npolicy: {timeout: 5s}"), "--timeout", "7s")
	c.await(func() bool { return c.status(c.address, "/web/x") == http.StatusOK }, "route")
	out, errs, status := c.command("explain", "/web/x")
	if status != 0 || !strings.Contains(out, "7s") || !strings.Contains(out, "--timeout") {
		t.Errorf("goapi explain = %d %s%s, want the timeout of the flag", status, out, errs)
	}
	out, _, _ = c.command("exposed", "--json")
	if !strings.Contains(out, `"resolver": "none"`) {
		t.Errorf("goapi exposed = %s, want the resolver of the file", out)
	}
}

// TestReloadKeepsWhatIsProtected: while routes change places, no backend gets a
// request that its own configuration would have refused, and no request misses.
func TestReloadKeepsWhatIsProtected(t *testing.T) {
	closed, open := startEcho(t), startEcho(t)
	keys := filepath.Join(t.TempDir(), "keys.txt")
	line, _, _ := command(t, "key", "partner")
	write(t, keys, line)
	identity := fmt.Sprintf("identity: {keys: {partners: {file: %s}}}\n", keys)
	protected := fmt.Sprintf("%sroutes: [{match: /web/**, to: [%q], auth: {any: [keys/partners]}}]\n", identity, closed.Listener.Addr())
	free := fmt.Sprintf("%sroutes: [{match: /web/**, to: [%q], methods: [GET]}]\n", identity, open.Listener.Addr())
	refused := make(chan string, 1)
	closed.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case refused <- r.URL.Path:
		default:
		}
	})
	c := startConfigured(t, protected)
	c.await(func() bool { return c.status(c.address, "/web/x") == http.StatusUnauthorized }, "route")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // ends with the test
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if got := c.status(c.address, "/web/x"); got != http.StatusOK && got != http.StatusUnauthorized {
				t.Errorf("GET during reloads = %d, want 200 or 401", got)
				return
			}
		}
	}()
	for range 4 {
		c.change(free, reloaded)
		c.await(func() bool { return c.status(c.address, "/web/x") == http.StatusOK }, "open route")
		c.change(protected, reloaded)
		c.await(func() bool { return c.status(c.address, "/web/x") == http.StatusUnauthorized }, "protected route")
	}
	close(stop)
	<-done
	select {
	case path := <-refused:
		t.Errorf("a protected backend got GET %s from nobody", path)
	default:
	}
}

// TestAdminTokenIsReadAgain: as other secrets are.
func TestAdminTokenIsReadAgain(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, "first-token\n")
	c := startConfigured(t, "admin_token_file: "+token)
	status := func(token string) int {
		got, _ := c.get(c.admin, "/services", "Authorization", "Bearer "+token)
		return got
	}
	if got := status("first-token"); got != http.StatusOK {
		t.Fatalf("GET /services = %d, want 200", got)
	}
	write(t, token, "second-token\n")
	c.await(func() bool { return status("second-token") == http.StatusOK }, "new token")
	if got := status("first-token"); got != http.StatusUnauthorized {
		t.Errorf("GET /services with the old token = %d, want 401", got)
	}
	write(t, token, "\n")
	const said = "goapi.yaml:1:19: admin_token_file "
	c.await(func() bool { return strings.Contains(c.logged(), said) }, fmt.Sprintf("%q in the log", said))
	if got := status("second-token"); got != http.StatusOK {
		t.Errorf("GET /services = %d after the token was emptied, want 200 as before", got)
	}
}

// TestSharedLimits: what passes at one gateway counts at the other.
func TestSharedLimits(t *testing.T) {
	s := startEcho(t)
	const limited = "policy: {rate_limit: [{key: client, requests: 10, per: 1h, shared: true}]}"
	config := func() string {
		file := filepath.Join(t.TempDir(), "goapi.yaml")
		write(t, file, operated(s, limited))
		return file
	}
	one := startGateway(t, "--config", config(), "--nats", "127.0.0.1:0")
	two := startGateway(t, "--config", config(), "--registry", "nats://"+one.nats, "--broker", "off")
	for _, p := range []*process{one, two} {
		p.await(func() bool { return p.status(p.address, "/web/x") != http.StatusNotFound }, "route")
	}
	two.await(func() bool { return one.status(one.address, "/web/x") == http.StatusTooManyRequests }, "end of the limit")
	two.await(func() bool { return two.status(two.address, "/web/x") == http.StatusTooManyRequests }, "end of the limit at the other gateway")
	passed := 0
	for range 20 {
		if two.status(two.address, "/web/x") == http.StatusOK {
			passed++
		}
	}
	if passed > 0 {
		t.Errorf("%d of 20 passed at the other gateway after the limit", passed)
	}
}

// TestDrainDelay: who follows /readyz has the time to go elsewhere.
func TestDrainDelay(t *testing.T) {
	s := startEcho(t)
	c := startConfigured(t, operated(s, "drain_delay: 1s"))
	c.await(func() bool { return c.status(c.address, "/web/x") == http.StatusOK }, "route")
	c.terminate()
	c.await(func() bool { return c.status(c.admin, "/readyz") == http.StatusServiceUnavailable }, "end of readiness")
	if got := c.status(c.address, "/web/x"); got != http.StatusOK {
		t.Errorf("GET after readiness ended = %d, want 200", got)
	}
	if got := c.wait(); got != 0 {
		t.Errorf("exit status = %d, want 0", got)
	}
}
