package nats_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi/nats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServerInThisProcessOnly(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	if got := s.Addr(); got != "" {
		t.Errorf("Addr() = %q, want none", got)
	}
	nc := connect(t, s)
	if got, want := nc.MaxPayload(), int64(1<<20); got != want {
		t.Errorf("MaxPayload() = %d, want %d", got, want)
	}
	put(t, nc, "greeter", "hello")
	if got := get(t, nc, "greeter"); got != "hello" {
		t.Errorf("the value of greeter = %q, want hello", got)
	}
}

func TestServerListens(t *testing.T) {
	s := start(t, t.TempDir(), &nats.ServerOptions{Address: "127.0.0.1:0", MaxPayload: 4096})
	nc, err := natsgo.Connect(s.Addr())
	if err != nil {
		t.Fatalf("Connect(%q) error = %v", s.Addr(), err)
	}
	defer nc.Close()
	put(t, connect(t, s), "greeter", "hello")
	if got := get(t, nc, "greeter"); got != "hello" {
		t.Errorf("the value of greeter over TCP = %q, want hello", got)
	}
	if got := nc.MaxPayload(); got != 4096 {
		t.Errorf("MaxPayload() = %d, want 4096", got)
	}
}

func TestServerKeepsItsStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "start")
	s := start(t, dir, nil)
	nc := connect(t, s)
	put(t, nc, "greeter", "hello")
	nc.Close()
	if err := s.Close(); err != nil {
		t.Fatalf("Close() error = %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("Close() again error = %v", err)
	}
	again := start(t, dir, nil)
	if got := get(t, connect(t, again), "greeter"); got != "hello" {
		t.Errorf("the value after a restart = %q, want hello", got)
	}
}

func TestServerSurvivesADamagedStore(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, nil)
	nc := connect(t, s)
	put(t, nc, "greeter", "hello")
	nc.Close()
	s.Close()
	damage(t, dir, "meta.inf")

	var log buffer
	again := start(t, dir, &nats.ServerOptions{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	put(t, connect(t, again), "greeter", "again")
	if !strings.Contains(log.String(), "checksums do not match") {
		t.Errorf("the log does not tell of the damage:\n%s", log.String())
	}
}

func TestServerErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	used := t.TempDir()
	start(t, used, nil)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	streams := t.TempDir()
	if err := os.WriteFile(filepath.Join(streams, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()

	tests := []struct {
		name string
		ctx  context.Context
		dir  string
		opts *nats.ServerOptions
		want []string
		is   error
	}{
		{"port in use", t.Context(), t.TempDir(), &nats.ServerOptions{Address: l.Addr().String()}, []string{l.Addr().String(), "address already in use"}, syscall.EADDRINUSE},
		{"no port", t.Context(), t.TempDir(), &nats.ServerOptions{Address: "localhost"}, []string{"localhost", "missing port"}, nil},
		{"store in use", t.Context(), used, nil, []string{used, "in use by another server"}, nil},
		{"store is a file", t.Context(), file, nil, []string{file, "not a directory"}, nil},
		{"streams are a file", t.Context(), streams, nil, []string{streams, "JetStream"}, nil},
		{"canceled", canceled, t.TempDir(), &nats.ServerOptions{Address: "127.0.0.1:0"}, nil, context.Canceled},
		{"canceled, not listening", canceled, t.TempDir(), nil, nil, context.Canceled},
		{"bad option", t.Context(), t.TempDir(), &nats.ServerOptions{MaxPayload: 1 << 30}, []string{"max_payload"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := nats.Start(tt.ctx, tt.dir, tt.opts)
			if err == nil {
				s.Close()
				t.Fatal("Start() error = nil")
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("Start() error = %v, want %v", err, tt.is)
			}
			for _, want := range append(tt.want, "nats: ") {
				if tt.want != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("Start() error = %v, want it to say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("Start() error = %q, want one line", err)
			}
		})
	}
	t.Run("nothing is left behind", func(t *testing.T) {
		for _, tt := range tests {
			if tt.dir != used && tt.dir != file && tt.dir != streams {
				start(t, tt.dir, nil)
			}
		}
	})
}

// TestServerStartIsAbandoned ends the start at any time, as an impatient
// operator does.
func TestServerStartIsAbandoned(t *testing.T) {
	dir, err := os.MkdirTemp("", "nats") //nolint:usetesting // it may be in use for a moment longer
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for patience := time.Microsecond; patience < 100*time.Millisecond; patience *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		s, err := nats.Start(ctx, filepath.Join(dir, patience.String()), nil)
		cancel()
		switch {
		case err == nil:
			if err := s.Close(); err != nil {
				t.Errorf("Close() error = %v", err)
			}
		case !errors.Is(err, context.DeadlineExceeded):
			t.Errorf("Start() within %v error = %v, want that the time is over", patience, err)
		}
	}
}

func TestServerToken(t *testing.T) {
	s := start(t, t.TempDir(), &nats.ServerOptions{Address: "127.0.0.1:0", Token: "sesame"})
	put(t, connect(t, s), "greeter", "hello") // the process has the token
	tests := []struct {
		name, token string
		want        error
	}{
		{"none", "", natsgo.ErrAuthorization},
		{"wrong", "open", natsgo.ErrAuthorization},
		{"right", "sesame", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nc, err := natsgo.Connect(s.Addr(), natsgo.Token(tt.token))
			if !errors.Is(err, tt.want) {
				t.Errorf("Connect() with token %q error = %v, want %v", tt.token, err, tt.want)
			}
			if nc != nil {
				nc.Close()
			}
		})
	}
	nc, err := natsgo.Connect("", natsgo.InProcessServer(inProcess{s}))
	if err == nil {
		nc.Close()
		t.Error("Connect() through TCP without a token error = nil, want it refused")
	}
}

func TestServerLogs(t *testing.T) {
	tests := []struct {
		level        slog.Level
		want, wantNo string
	}{
		{slog.LevelDebug, "Server is ready", "sesame"},
		{slog.LevelInfo, "", "Server is ready"},
	}
	for _, tt := range tests {
		t.Run(tt.level.String(), func(t *testing.T) {
			var log buffer
			s := start(t, t.TempDir(), &nats.ServerOptions{
				Token:  "sesame",
				Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: tt.level})),
			})
			put(t, connect(t, s), "greeter", "hello")
			s.Close()
			if got := log.String(); !strings.Contains(got, tt.want) || strings.Contains(got, tt.wantNo) {
				t.Errorf("the log at %v =\n%s, want %q and not %q", tt.level, got, tt.want, tt.wantNo)
			}
		})
	}
}

func TestServerConnectAfterClose(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	s.Close()
	if nc, err := s.Connect(t.Context()); !errors.Is(err, nats.ErrUnavailable) {
		t.Errorf("Connect() after Close = %v, %v, want ErrUnavailable", nc, err)
	}
}

// buffer is a log that is read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// inProcess connects to a server without what the server would add.
type inProcess struct{ s *nats.Server }

func (p inProcess) InProcessConn() (net.Conn, error) { return net.Dial("tcp", p.s.Addr()) }

func start(t testing.TB, dir string, opts *nats.ServerOptions) *nats.Server {
	t.Helper()
	s, err := nats.Start(t.Context(), dir, opts)
	if err != nil {
		t.Fatalf("Start() error = %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close() error = %v", err)
		}
	})
	return s
}

func connect(t testing.TB, s *nats.Server) *natsgo.Conn {
	t.Helper()
	nc, err := s.Connect(t.Context())
	if err != nil {
		t.Fatalf("Connect() error = %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// bucket returns a key-value bucket, which tells whether JetStream is there.
func bucket(t testing.TB, nc *natsgo.Conn) jetstream.KeyValue {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(bound(t), jetstream.KeyValueConfig{Bucket: "test"})
	if err != nil {
		t.Fatalf("CreateKeyValue() error = %v", err)
	}
	return kv
}

func put(t testing.TB, nc *natsgo.Conn, key, value string) {
	t.Helper()
	if _, err := bucket(t, nc).Put(bound(t), key, []byte(value)); err != nil {
		t.Fatalf("Put(%q) error = %v", key, err)
	}
}

func get(t testing.TB, nc *natsgo.Conn, key string) string {
	t.Helper()
	entry, err := bucket(t, nc).Get(bound(t), key)
	if err != nil {
		t.Fatalf("Get(%q) error = %v", key, err)
	}
	return string(entry.Value())
}

func bound(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// damage overwrites every file of a name.
func damage(t *testing.T, dir, name string) {
	t.Helper()
	var done bool
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != name {
			return err
		}
		done = true
		return os.WriteFile(path, []byte(strings.Repeat("damaged ", 16)), 0o600)
	})
	if err != nil || !done {
		t.Fatalf("damage %s in %s: done %v, error %v", name, dir, done, err)
	}
}
