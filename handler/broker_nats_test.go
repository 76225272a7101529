package handler_test

import (
	"net/url"
	"testing"

	"github.com/goapi-dev/goapi/broker"
	natsbroker "github.com/goapi-dev/goapi/broker/nats"
	"github.com/goapi-dev/goapi/nats"
)

// openEmbedded returns a broker on a NATS server inside this process.
func openEmbedded(t *testing.T) broker.Broker {
	t.Helper()
	server, err := nats.Start(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	b, err := natsbroker.Open(t.Context(), &url.URL{Scheme: "embedded"}, &natsbroker.Options{Conns: &nats.Conns{Embedded: server}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}
