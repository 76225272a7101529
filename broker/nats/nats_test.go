package nats_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/brokertest"
	conns "github.com/goapi-dev/goapi/nats"
)

// wait is the shortest AckWait that tests ask for.
const wait = 300 * time.Millisecond

func TestEmbedded(t *testing.T) {
	brokertest.Run(t, func(t testing.TB) broker.Broker {
		return open(t, "embedded:", start(t, t.TempDir(), nil))
	}, &brokertest.Options{MinAckWait: wait})
}

// TestServer runs the suite on servers in processes of their own, which are
// killed where they are to go away, over connections that can be cut.
func TestServer(t *testing.T) {
	type server struct {
		*process
		*cutter
	}
	servers := make(map[broker.Broker]server)
	brokertest.Run(t, func(t testing.TB) broker.Broker {
		p := startProcess(t)
		c := startCutter(t, p.addr)
		b := open(t, "nats://"+c.listener.Addr().String(), nil)
		servers[b] = server{p, c}
		return b
	}, &brokertest.Options{
		MinAckWait: wait,
		Settle:     time.Second,
		Another: func(t testing.TB, b broker.Broker) broker.Broker {
			return open(t, "nats://"+servers[b].addr, nil)
		},
		Stop: func(t testing.TB, b broker.Broker) (start func()) {
			p := servers[b].process
			p.kill()
			return func() { p.start(t) }
		},
		Cut: func(_ testing.TB, b broker.Broker) (end func()) {
			c := servers[b].cutter
			c.cut()
			return c.end
		},
	})
}

// TestServerRestarts runs the suite on servers that end as they should.
func TestServerRestarts(t *testing.T) {
	type server struct {
		*conns.Server

		dir string
	}
	servers := make(map[broker.Broker]*server)
	brokertest.Run(t, func(t testing.TB) broker.Broker {
		s := &server{dir: t.TempDir()}
		s.Server = start(t, s.dir, &conns.ServerOptions{Address: "127.0.0.1:0"})
		b := open(t, "nats://"+s.Addr()+"?stream=other&prefix=a.b", nil)
		servers[b] = s
		return b
	}, &brokertest.Options{
		MinAckWait: wait,
		Stop: func(t testing.TB, b broker.Broker) func() {
			s := servers[b]
			addr := s.Addr()
			s.Close()
			return func() { s.Server = start(t, s.dir, &conns.ServerOptions{Address: addr}) }
		},
	})
}

func TestCore(t *testing.T) { testCore(t, "nats://%s?jetstream=false") }

func TestMicro(t *testing.T) { testCore(t, "nats+micro://%s") }

// testCore runs the suite without JetStream.
func testCore(t *testing.T, address string) {
	servers := make(map[broker.Broker]*process)
	brokertest.Run(t, func(t testing.TB) broker.Broker {
		p := startProcess(t)
		b := open(t, fmt.Sprintf(address, p.addr), nil)
		servers[b] = p
		return b
	}, &brokertest.Options{
		MinAckWait: wait,
		Another: func(t testing.TB, b broker.Broker) broker.Broker {
			return open(t, fmt.Sprintf(address, servers[b].addr), nil)
		},
		Stop: func(t testing.TB, b broker.Broker) (start func()) {
			p := servers[b]
			p.kill()
			return func() { p.start(t) }
		},
	})
}
