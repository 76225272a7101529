package standard_test

import (
	"net"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/standard"
)

func TestBrokers(t *testing.T) {
	srv, err := nats.Start(t.Context(), t.TempDir(), &nats.ServerOptions{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	opts := &standard.Options{
		Conns:       &nats.Conns{Embedded: srv},
		Registry:    new(registry.Memory),
		DialContext: new(net.Dialer).DialContext,
	}
	for _, url := range []string{
		"memory:", "embedded:", "embedded+micro:", "nats://" + srv.Addr(), "nats+micro://" + srv.Addr(),
		"nats://" + srv.Addr() + "?jetstream=false", "http+micro:",
	} {
		t.Run(url, func(t *testing.T) {
			b, err := standard.Open(t.Context(), standard.Brokers(opts), url)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := standard.Close(b); err != nil {
					t.Errorf("Close = %v", err)
				}
			}()
			sub, err := b.Subscribe(t.Context(), "orders", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Close()
			if err := b.Publish(t.Context(), "orders", &broker.Message{Body: []byte("1")}); err != nil {
				t.Fatal(err)
			}
			if d, err := sub.Next(t.Context()); err != nil || string(d.Body) != "1" {
				t.Errorf("Next = %v, %v; want what was published", d, err)
			}
		})
	}
}

func TestBrokersMistakes(t *testing.T) {
	for url, want := range map[string]string{
		"memory://x":    "takes no address",
		"memory:?a=b":   "takes no address",
		"http+micro:":   "there is none",
		"kafka://x":     `unknown scheme "kafka"; known schemes: embedded:, embedded+micro:, http+micro:, memory:, nats:, nats+micro:, tls:, tls+micro:`,
		"nats://x?no=1": "no",
	} {
		b, err := standard.Open(t.Context(), standard.Brokers(nil), url)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Open(%q) = %v, %v; want one line with %q", url, b, err, want)
		}
	}
}

func TestCheckBrokers(t *testing.T) {
	for url, want := range map[string]string{
		"embedded:": "", "nats://10.0.0.1:4222?prefix=a": "", "nats+micro://10.0.0.1:4222": "", "memory:": "", "http+micro:": "", // none is opened
		"nats://10.0.0.1:4222?prefx=a":        `unknown parameter "prefx"`,
		"nats://10.0.0.1:4222?max_age=soon":   `max_age "soon"`,
		"nats+micro://10.0.0.1:4222?prefix=a": `unknown parameter "prefix"`,
		"http+micro:?verify=never":            `verify "never" is neither true nor false`,
		"memory:?a=b":                         "takes no address and no parameters",
		"kafka://x":                           `unknown scheme "kafka"`,
	} {
		err := standard.Check(standard.Brokers(nil), url)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("Check(%q) = %v, want one line with %q", url, err, want)
		}
	}
}
