package nats_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goapi-dev/goapi/broker"
	conns "github.com/goapi-dev/goapi/nats"
)

func TestOpenErrors(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	js := jetStream(t, s)
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "NARROW", Subjects: []string{"narrow.orders.*", "narrow.other"}},
		{Name: "QUEUE", Subjects: []string{"queue.>"}, Retention: jetstream.WorkQueuePolicy},
		{Name: "INTEREST", Subjects: []string{"interest.>"}, Retention: jetstream.InterestPolicy},
		{Name: "SILENT", Subjects: []string{"silent.>"}, NoAck: true},
	} {
		if _, err := js.CreateStream(bound(t), cfg); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		url  string
		want string
	}{
		{"embedded:?stream=NARROW&prefix=narrow", `its subjects are ["narrow.orders.*" "narrow.other"], which does not cover "narrow.>"`},
		{"embedded:?stream=QUEUE&prefix=queue", "its retention is WorkQueue, want limits"},
		{"embedded:?stream=INTEREST&prefix=interest", "its retention is Interest, want limits"},
		{"embedded:?stream=SILENT&prefix=silent", "it does not acknowledge"},
		{"embedded:?stream=OTHER&prefix=queue", `another stream has subjects under "queue."`},
		{"embedded:?replicas=3", "without a cluster cannot hold 3 replicas"},
		{"embedded:?max_bytes=99999999999999", "the server has no room for max_bytes=99999999999999"},
		{"embedded:?stream=a.b", `stream "a.b" is not made of letters, digits, - and _`},
		{"embedded:?stream=", `stream "" is not made of`},
		{"embedded:?prefix=", "prefix is empty; only jetstream=false allows that"},
		{"embedded:?prefix=a.*", `prefix "a.*" begins no subject`},
		{"embedded:?prefix=$JS.API", `prefix "$JS.API" begins no subject`},
		{"embedded:?prefix=_INBOX", `prefix "_INBOX" begins with _`},
		{"embedded:?prefix=" + strings.Repeat("p", 65), "more than 64 bytes"},
		{"embedded:?jetstream=maybe", `jetstream "maybe" is neither true nor false`},
		{"embedded:?jetstream=false&stream=a", "stream means nothing with jetstream=false"},
		{"embedded:?jetstream=false&max_age=1h", "max_age means nothing with jetstream=false"},
		{"embedded:?replicas=6", `replicas "6" is not a number from 1 to 5`},
		{"embedded:?max_age=week", `max_age "week" is not a duration`},
		{"embedded:?max_age=-1h", `max_age "-1h" is not a duration`},
		{"embedded:?max_bytes=1GB", `max_bytes "1GB" is not a number of bytes`},
		{"embedded:?bucket=a", `unknown parameter "bucket"; known: jetstream, max_age, max_bytes, prefix, replicas, stream`},
		{"redis://h", `unknown scheme "redis"`},
		{"embedded+micro:?jetstream=true", `unknown parameter "jetstream"; known: none`},
		{"redis+micro://h", `unknown scheme "redis"`},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			b, err := tryOpen(bound(t), tt.url, s)
			if err == nil {
				b.Close()
				t.Fatal("Open() error = nil")
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Open() error = %v, want %q in a line", err, tt.want)
			}
			if errors.Is(err, broker.ErrUnavailable) {
				t.Errorf("Open() error = %v, which says that another attempt may help", err)
			}
		})
	}
}

func TestOpenWithoutAServer(t *testing.T) {
	s := start(t, t.TempDir(), &conns.ServerOptions{Address: "127.0.0.1:0"})
	addr := s.Addr()
	s.Close()
	if _, err := tryOpen(bound(t), "nats://"+addr, nil); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Open() without a server error = %v, want ErrUnavailable", err)
	}
}

func TestOpenWithoutJetStream(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	address := "nats://" + s.Addr().String()
	_, err = tryOpen(bound(t), address, nil)
	if err == nil || !strings.Contains(err.Error(), "if the server has none, enable it there, or say jetstream=false") {
		t.Errorf("Open() error = %v, want what to do", err)
	}
	b := open(t, address+"?jetstream=false", nil)
	sub := subscribe(t, b, "orders", nil)
	publish(t, b, "orders", "1")
	take(t, sub, "1")
}

// TestOpenAtOnce: of many who find no stream, all get the same one.
func TestOpenAtOnce(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			b, err := tryOpen(t.Context(), "embedded:", s)
			if err != nil {
				t.Errorf("Open() error = %v", err)
				return
			}
			b.Close()
		})
	}
	wg.Wait()
	cfg := streamOf(t, s, "EVENTS").CachedInfo().Config
	if !slices.Equal(cfg.Subjects, []string{"events.>"}) || cfg.MaxAge != 168*time.Hour || cfg.MaxBytes != 1<<30 ||
		cfg.Storage != jetstream.FileStorage || cfg.Duplicates != 2*time.Minute || cfg.Discard != jetstream.DiscardOld {
		t.Errorf("the stream is %+v", cfg)
	}
}

func TestOpenParameters(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	b := open(t, "embedded:?stream=Other_1&prefix=a.b.&max_age=1m&max_bytes=0&replicas=1", s)
	cfg := streamOf(t, s, "Other_1").CachedInfo().Config
	if !slices.Equal(cfg.Subjects, []string{"a.b.>"}) || cfg.MaxAge != time.Minute || cfg.MaxBytes != -1 {
		t.Errorf("the stream is %+v", cfg)
	}
	if got := b.Capabilities().Dedup; got != time.Minute {
		t.Errorf("Dedup = %v, want that of the stream: 1m", got)
	}
}

// TestOpenUsesWhatIsThere: a stream that an operator made is used as it is.
func TestOpenUsesWhatIsThere(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	if _, err := jetStream(t, s).CreateStream(bound(t), jetstream.StreamConfig{
		Name: "MINE", Subjects: []string{"other", "mine.>"}, Storage: jetstream.MemoryStorage, Duplicates: time.Second, MaxMsgs: 3,
	}); err != nil {
		t.Fatal(err)
	}
	b := open(t, "embedded:?stream=MINE&prefix=mine", s)
	caps := b.Capabilities()
	if caps.Persistent || !caps.History || caps.Dedup != time.Second {
		t.Errorf("Capabilities() = %+v, want no persistence, and a second of Dedup", caps)
	}
	for _, id := range []string{"1", "2", "3", "4"} {
		publish(t, b, "orders", id)
	}
	take(t, subscribe(t, b, "orders", &broker.SubscribeOptions{Start: broker.Start{Earliest: true}}), "2", "3", "4")
}

func TestCapabilities(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	if got := open(t, "embedded:", s).Capabilities().Missing(); len(got) > 0 {
		t.Errorf("what JetStream does not promise = %q, want nothing", got)
	}
	if got := open(t, "embedded:?jetstream=false", s).Capabilities().Missing(); len(got) != 5 {
		t.Errorf("what NATS without JetStream does not promise = %q, want 5 sentences", got)
	}
}
