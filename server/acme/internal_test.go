package acme

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// FuzzKeys finds each key again, as NATS allows it.
func FuzzKeys(f *testing.F) {
	for _, key := range []string{"a", "certificates/ca.example-directory/a.example/a.example.crt", "users/me@example.com", "locks/issue_cert_*.example", "=2E", "ü/ ", ".", "a..b"} {
		f.Add(key)
	}
	valid := regexp.MustCompile(`^[-_=a-zA-Z0-9]+(\.[-_=a-zA-Z0-9]+)*$`)
	f.Fuzz(func(t *testing.T, key string) {
		k := encode(key)
		parts := key != "" && !strings.HasPrefix(key, "/") && !strings.HasSuffix(key, "/") && !strings.Contains(key, "//")
		if parts && !valid.MatchString(k) {
			t.Errorf("encode(%q) = %q, which is no key of NATS", key, k)
		}
		if got, ok := decode(k); !ok || got != key {
			t.Errorf("decode(encode(%q)) = %q, %t", key, got, ok)
		}
		if got, ok := decode(key); ok && encode(got) != key {
			t.Errorf("decode(%q) = %q, which is not encoded so", key, got)
		}
	})
}

func TestLog(t *testing.T) {
	tests := []struct {
		name string
		log  func(*zap.Logger)
		want string
	}{
		{"debug", func(l *zap.Logger) { l.Debug("no") }, ""},
		{"info", func(l *zap.Logger) { l.Info("yes", zap.String("b", "x"), zap.Int("a", 1)) }, `level=INFO msg="acme: yes" a=1 b=x`},
		{"warning", func(l *zap.Logger) { l.Warn("yes", zap.Error(errors.New("broken"))) }, `level=WARN msg="acme: yes" error=broken`},
		{"error", func(l *zap.Logger) { l.Error("yes", zap.Duration("took", time.Second)) }, `level=ERROR msg="acme: yes" took=1s`},
		{"a part", func(l *zap.Logger) { l.Named("part").With(zap.Strings("names", []string{"a", "b"})).Info("yes") }, `level=INFO msg="acme: yes" names="[a b]"`},
		{"what must not be", func(l *zap.Logger) { l.DPanic("no") }, `level=ERROR msg="acme: no"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			l := zap.New(core{slog.NewTextHandler(&b, nil)})
			tt.log(l)
			_ = l.Sync()
			_, got, _ := strings.Cut(strings.TrimSpace(b.String()), " ") // behind the time
			if got != tt.want {
				t.Errorf("log = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestAllowed are the names that certificates may be issued for on demand.
func TestAllowed(t *testing.T) {
	m, err := New(Disk(t.TempDir()), &Options{Domains: []string{"a.example"}, OnDemand: []string{"b.example", "*.c.example"}, TLS: ":443"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"a.example": false, "b.example": true, "x.b.example": false, "x.c.example": true, "c.example": false,
		"x.y.c.example": false, "": false, "*.c.example": false, "example": false,
	} {
		if got := m.decide(t.Context(), name) == nil; got != want {
			t.Errorf("%q allowed = %t, want %t", name, got, want)
		}
	}
}

// TestLevels has each level of zap as one of slog.
func TestLevels(t *testing.T) {
	for from, want := range map[zapcore.Level]slog.Level{
		zapcore.DebugLevel: slog.LevelDebug, zapcore.InfoLevel: slog.LevelInfo, zapcore.WarnLevel: slog.LevelWarn,
		zapcore.ErrorLevel: slog.LevelError, zapcore.PanicLevel: slog.LevelError, zapcore.FatalLevel: slog.LevelError,
	} {
		if got := levelOf(from); got != want {
			t.Errorf("%v = %v, want %v", from, got, want)
		}
	}
}
