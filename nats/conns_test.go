package nats_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/nats"
)

func TestConnsShare(t *testing.T) {
	s := start(t, t.TempDir(), &nats.ServerOptions{Address: "127.0.0.1:0"})
	conns := &nats.Conns{Embedded: s}
	first := open(t, conns, "nats://"+s.Addr()+"?bucket=a")
	second := open(t, conns, "nats://"+s.Addr()+"?bucket=b")
	other := open(t, conns, "nats://someone@"+s.Addr())
	embedded := open(t, conns, "embedded:")
	if first.Conn != second.Conn {
		t.Error("two uses of one URL have two connections, want one")
	}
	if first.Conn == other.Conn || first.Conn == embedded.Conn {
		t.Error("different URLs share a connection")
	}
	closeTwice(t, first)
	if second.IsClosed() {
		t.Fatal("the connection is closed while there is a use of it")
	}
	closeTwice(t, second)
	if !second.IsClosed() {
		t.Error("the connection is open after its last use")
	}
	third := open(t, conns, "nats://"+s.Addr())
	if third.IsClosed() {
		t.Error("a connection that was closed is used again")
	}
}

func TestConnsConcurrentUse(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	conns := &nats.Conns{Embedded: s}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 8 {
				c, err := conns.Open(t.Context(), mustParse(t, "embedded:"))
				if err != nil {
					t.Errorf("Open() error = %v", err)
					return
				}
				if c.IsClosed() {
					t.Error("Open() = a closed connection")
				}
				c.Close()
			}
		})
	}
	wg.Wait()
}

func TestConnsOpenErrors(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	write(t, empty, " \n")
	tests := []struct {
		url  string
		want string
	}{
		{"http://127.0.0.1", `unknown scheme "http"; known: embedded, nats, tls`},
		{"127.0.0.1:4222", ""}, // does not parse
		{"nats:", `host "" is not host:port`},
		{"nats://", `host "" is not host:port`},
		{"nats:host", "want scheme://host:port"},
		{"nats://h/path", "want scheme://host:port"},
		{"nats://h#part", "want scheme://host:port"},
		{"nats://h?hots=i", `unknown parameter "hots"; known: bucket, ca, cert, host, key, password_file, token_file`},
		{"nats://h?host=user:secret@i", `is not host:port`},
		{"nats://h?host=", `host "" is not host:port`},
		{"nats://h?ca=a&ca=b", `parameter "ca" is there 2 times`},
		{"nats://h?%zz", "parameters are malformed"},
		{"nats://secret@h?token_file=f", "both a user and token_file"},
		{"nats://h?password_file=f", "password_file goes with a user that has no password"},
		{"nats://user:secret@h?password_file=f", "password_file goes with a user that has no password"},
		{"nats://user@h?password_file=/no/such", "password_file: open /no/such: no such file"},
		{"nats://user@h?password_file=" + empty, "is empty"},
		{"nats://h?cert=a", "cert and key go together"},
		{"nats://h?token_file=/no/such", "token_file: open /no/such: no such file"},
		{"nats://h?token_file=" + empty, "is empty"},
		{"nats://h?ca=/no/such", "ca: open /no/such: no such file"},
		{"nats://h?ca=" + empty, "holds no certificate in PEM"},
		{"nats://h?cert=/no/such&key=/no/such", "cert and key: open /no/such: no such file"},
		{"embedded:", "there is no embedded server in this process"},
		{"embedded://host", "the embedded server has no host"},
		{"embedded:?ca=a", `unknown parameter "ca"; known: bucket`},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			u, err := url.Parse(tt.url)
			if err != nil {
				return
			}
			var conns nats.Conns
			c, err := conns.Open(t.Context(), u, "bucket")
			if err == nil {
				c.Close()
				t.Fatal("Open() error = nil")
			}
			if got := err.Error(); !strings.Contains(got, tt.want) || !strings.HasPrefix(got, "nats: ") || strings.Contains(got, "nats://secret") {
				t.Errorf("Open() error = %q, want %q and no secret", got, tt.want)
			}
		})
	}
}

func TestConnsUnavailable(t *testing.T) {
	s := start(t, t.TempDir(), &nats.ServerOptions{Address: "127.0.0.1:0"})
	addr := s.Addr()
	s.Close()
	var conns nats.Conns
	for range 2 { // a failure is not kept
		c, err := conns.Open(t.Context(), mustParse(t, "nats://user:secret@"+addr+"?host="+addr))
		if !errors.Is(err, nats.ErrUnavailable) {
			t.Fatalf("Open() = %v, %v, want ErrUnavailable", c, err)
		}
		if got := err.Error(); strings.Contains(got, "secret") || !strings.Contains(got, addr+","+addr) {
			t.Errorf("Open() error = %q, want both hosts, and no secret", got)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := conns.Open(canceled, mustParse(t, "nats://"+addr)); !errors.Is(err, context.Canceled) {
		t.Errorf("Open() with a canceled context error = %v, want %v", err, context.Canceled)
	}
}

// TestConnsOpenIsAbandoned: somebody listens, but says nothing.
func TestConnsOpenIsAbandoned(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var conns nats.Conns
	begin := time.Now()
	c, err := conns.Open(ctx, mustParse(t, "nats://"+l.Addr().String()))
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, nats.ErrUnavailable) {
		t.Errorf("Open() = %v, %v, want ErrUnavailable and %v", c, err, context.DeadlineExceeded)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("Open() took %v, want no longer than its context", took)
	}
}

func TestConnsLogin(t *testing.T) {
	s := start(t, t.TempDir(), &nats.ServerOptions{Address: "127.0.0.1:0", Token: "sesame"})
	right, wrong := filepath.Join(t.TempDir(), "right"), filepath.Join(t.TempDir(), "wrong")
	write(t, right, "sesame\n")
	write(t, wrong, "open\n")
	tests := []struct {
		url string
		ok  bool
	}{
		{"nats://sesame@" + s.Addr(), true},
		{"nats://open@" + s.Addr(), false},
		{"nats://sesame:sesame@" + s.Addr(), false},
		{"nats://" + s.Addr(), false},
		{"nats://" + s.Addr() + "?token_file=" + right, true},
		{"nats://" + s.Addr() + "?token_file=" + wrong, false},
		{"embedded:", true},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			conns := &nats.Conns{Embedded: s}
			c, err := conns.Open(t.Context(), mustParse(t, tt.url))
			if err == nil {
				c.Close()
			}
			switch {
			case tt.ok != (err == nil):
				t.Fatalf("Open(%q) error = %v, want success: %v", tt.url, err, tt.ok)
			case err == nil:
			case errors.Is(err, nats.ErrUnavailable) || !strings.Contains(err.Error(), "refuses us"):
				t.Errorf("Open(%q) error = %v, want that the server refuses us", tt.url, err)
			case strings.Contains(err.Error(), "sesame") || strings.Contains(err.Error(), "open@"):
				t.Errorf("Open(%q) error = %v, want no secret in it", tt.url, err)
			}
		})
	}
}

// TestConnsPasswordFile has a server that wants a user and a password.
func TestConnsPasswordFile(t *testing.T) {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, Username: "gateway", Password: "pa:ss",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	file := filepath.Join(t.TempDir(), "password")
	var conns nats.Conns
	for password, want := range map[string]bool{"pa:ss\n": true, "sesame": false} {
		write(t, file, password)
		c, err := conns.Open(t.Context(), mustParse(t, "nats://gateway@"+s.Addr().String()+"?password_file="+file))
		if err == nil {
			c.Close()
		}
		if (err == nil) != want || err != nil && strings.Contains(err.Error(), "sesame") {
			t.Errorf("Open() with the password %q in a file error = %v, want success: %t", password, err, want)
		}
	}
}

// TestConnsComeBack: a connection survives its server, tells so, and fails at
// once meanwhile. The token that is read then may be a new one.
func TestConnsComeBack(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "token")
	write(t, file, "sesame")
	s := start(t, dir, &nats.ServerOptions{Address: "127.0.0.1:0", Token: "sesame"})
	said := make(lines, 64)
	conns := &nats.Conns{Logger: slog.New(slog.NewTextHandler(said, nil))}
	c := open(t, conns, "nats://"+s.Addr()+"?token_file="+file)
	lost, back := c.StatusChanged(natsgo.RECONNECTING), c.StatusChanged(natsgo.CONNECTED)

	s.Close()
	receive(t, lost)
	if err := c.Publish("greeter", nil); err == nil {
		t.Error("Publish() without a server error = nil, want that it fails at once")
	}
	write(t, file, "open")
	start(t, dir, &nats.ServerOptions{Address: s.Addr(), Token: "open"})
	begin := time.Now()
	receive(t, back)
	if got := time.Since(begin); got > 15*time.Second { // 3 s, on a machine that is not busy
		t.Errorf("the connection was back after %v, want at most 15 s", got)
	}
	for _, want := range []string{"connection to NATS lost", "connection to NATS is back"} {
		if got := receive(t, said); !strings.Contains(got, want) || !strings.Contains(got, s.Addr()) {
			t.Errorf("the log says %q, want %q and the address", got, want)
		}
	}
}

func TestRedact(t *testing.T) {
	tests := []struct{ url, want string }{
		{"nats://h:4222?host=i", "nats://h:4222"},
		{"nats://token@h", "nats://xxxxx@h"},
		{"nats://user:password@h", "nats://xxxxx@h"},
		{"embedded:", "embedded:"},
		{"nats:user:hunter2@h:1", "nats:xxxxx@h:1"},
	}
	for _, tt := range tests {
		if got := nats.Redact(mustParse(t, tt.url)); got != tt.want {
			t.Errorf("Redact(%q) = %q, want %q", tt.url, got, tt.want)
		}
	}
}

// FuzzConnsOpen holds that no error shows who logs in. The context is over, so
// that nobody is called.
func FuzzConnsOpen(f *testing.F) {
	f.Add("embedded:", "")
	f.Add("nats://127.0.0.1:4222?host=127.0.0.1:4223", "sesame")
	f.Add("tls://host?ca=a&cert=b&key=c&token_file=d", "sesame")
	f.Fuzz(func(t *testing.T, address, secret string) {
		u, err := url.Parse(address)
		if err != nil {
			return
		}
		const mark = "5e5ame"
		u.User = url.User(mark + secret)
		var conns nats.Conns
		c, err := conns.Open(canceled(t), u)
		if err == nil || c != nil {
			t.Fatalf("Open(%q) = %v, %v, want an error", u, c, err)
		}
		if strings.Contains(err.Error(), mark) {
			t.Fatalf("Open(%q) error = %v, which shows the user", u, err)
		}
	})
}

// lines is an io.Writer of lines that a test reads.
type lines chan string

var _ io.Writer = lines(nil)

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

func receive[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-bound(t).Done():
		t.Fatal("nothing happened in time")
	}
	return v
}

func open(t testing.TB, conns *nats.Conns, address string) *nats.Conn {
	t.Helper()
	c, err := conns.Open(t.Context(), mustParse(t, address), "bucket")
	if err != nil {
		t.Fatalf("Open(%q) error = %v", address, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func closeTwice(t testing.TB, c *nats.Conn) {
	t.Helper()
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("Close() error = %v", err)
		}
	}
}

func mustParse(t testing.TB, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func write(t testing.TB, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func canceled(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
