package acme_test

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/server/acme"
)

// TestChallenges has a certificate issued for either proof alone.
func TestChallenges(t *testing.T) {
	tests := []struct {
		name   string
		change func(*acme.Options)
	}{
		{"HTTP-01", func(o *acme.Options) { o.TLS = "" }},
		{"TLS-ALPN-01", func(o *acme.Options) { o.HTTP = "" }},
		{"both", func(*acme.Options) {}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t)
			a := newAuthority(t, g, authorityOptions{})
			g.manage(t, a, acme.Disk(t.TempDir()), func(o *acme.Options) {
				o.Domains = []string{"Api.Gateway.example"}
				tt.change(o)
			})
			g.await(t, a, "api.gateway.example", any509)
			if _, err := g.shake(t, a, "other.gateway.example"); err == nil {
				t.Error("there is a certificate for a name that nobody named")
			}
			if n := a.orders.Load(); n != 1 {
				t.Errorf("%d certificates were asked for, want 1", n)
			}
		})
	}
}

func TestOnDemand(t *testing.T) {
	g := newGateway(t)
	a := newAuthority(t, g, authorityOptions{})
	g.manage(t, a, acme.Disk(t.TempDir()), func(o *acme.Options) {
		o.OnDemand = []string{"shop.example", "*.customers.example"}
	})
	g.await(t, a, "shop.example", any509) // the manager may not run yet, and a handshake that is given up is asked for again
	before := a.orders.Load()
	for name, want := range map[string]bool{
		"one.customers.example": true, "shop.example": true, "customers.example": false,
		"a.b.customers.example": false, "other.example": false, "": false,
	} {
		if _, err := g.shake(t, a, name); (err == nil) != want {
			t.Errorf("handshake for %q = %v, want a certificate %t", name, err, want)
		}
	}
	if n := a.orders.Load() - before; n != 1 {
		t.Errorf("%d more certificates were asked for, want 1: of the name that is allowed and new", n)
	}
}

// TestRestart finds in the storage what there was.
func TestRestart(t *testing.T) {
	g := newGateway(t)
	a := newAuthority(t, g, authorityOptions{})
	storage := acme.Disk(t.TempDir())
	name := func(o *acme.Options) { o.Domains = []string{"api.gateway.example"} }
	stop := g.manage(t, a, storage, name)
	first := g.await(t, a, "api.gateway.example", any509)
	stop()
	g.manage(t, a, storage, name)
	second := g.await(t, a, "api.gateway.example", any509)
	if !first.Equal(second) || a.orders.Load() != 1 {
		t.Errorf("%d certificates were asked for, want the first served again", a.orders.Load())
	}
}

func TestRenewal(t *testing.T) {
	g := newGateway(t)
	a := newAuthority(t, g, authorityOptions{validity: 20 * time.Second})
	g.manage(t, a, acme.Disk(t.TempDir()), func(o *acme.Options) {
		o.Domains = []string{"api.gateway.example"}
		o.Renewal, o.Check = 0.6, 500*time.Millisecond
	})
	first := g.await(t, a, "api.gateway.example", any509)
	g.await(t, a, "api.gateway.example", func(c *x509.Certificate) bool { return !c.Equal(first) })
	if time.Now().After(first.NotAfter) {
		t.Error("the certificate was renewed only after its end")
	}
}

// TestExternalAccount has an authority that issues to those it knows.
func TestExternalAccount(t *testing.T) {
	const id, key = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	g := newGateway(t)
	a := newAuthority(t, g, authorityOptions{accounts: map[string]string{id: key}})
	g.manage(t, a, acme.Disk(t.TempDir()), func(o *acme.Options) {
		o.Domains = []string{"api.gateway.example"}
		o.KeyID, o.MACKey = id, key
	})
	g.await(t, a, "api.gateway.example", any509)
	if strings.Contains(g.log.String(), key) {
		t.Error("the log has the key of the account")
	}
}

// TestTwoGateways share a storage, and ask once.
func TestTwoGateways(t *testing.T) {
	bus := startBus(t)
	asked, other := newGateway(t), newGateway(t)
	a := newAuthority(t, asked, authorityOptions{})
	for _, g := range []*gateway{other, asked} {
		g.manage(t, a, shared(t, bus), func(o *acme.Options) { o.Domains = []string{"api.gateway.example", "www.gateway.example"} })
	}
	for _, name := range []string{"api.gateway.example", "www.gateway.example"} {
		if !asked.await(t, a, name, any509).Equal(other.await(t, a, name, any509)) {
			t.Errorf("the gateways have different certificates for %s", name)
		}
	}
	if n := a.orders.Load(); n != 2 {
		t.Errorf("%d certificates were asked for, want one for each of 2 names", n)
	}
}

// TestProofOfAnother has the authority ask a gateway for what another, in another
// process, has to prove.
func TestProofOfAnother(t *testing.T) {
	for _, challenge := range []string{"HTTP-01", "TLS-ALPN-01"} {
		t.Run(challenge, func(t *testing.T) {
			bus := startBus(t)
			asked := newGateway(t)
			a := newAuthority(t, asked, authorityOptions{})
			asked.manage(t, a, shared(t, bus), func(o *acme.Options) { o.OnDemand = []string{"www.gateway.example"} })
			asked.await(t, a, "www.gateway.example", any509)
			o := other{NATS: bus.Addr(), Directory: a.url, Trust: a.trustPEM, Name: "api.gateway.example"}
			if challenge == "HTTP-01" {
				o.HTTP = asked.plain.Addr().String()
			} else {
				o.TLS = asked.secure.Addr().String()
			}
			if err := o.start(t); err != nil {
				t.Fatalf("%v; the log:\n%s", err, asked.log)
			}
			if !strings.Contains(asked.log.String(), "distributed=true") {
				t.Errorf("the log says nothing of a challenge that is another's:\n%s", asked.log)
			}
		})
	}
}

// startBus returns a server of NATS.
func startBus(t *testing.T) *nats.Server {
	t.Helper()
	bus, err := nats.Start(t.Context(), t.TempDir(), &nats.ServerOptions{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	return bus
}

// shared returns the storage of all who use the server, with a connection of its
// own.
func shared(t *testing.T, bus *nats.Server) acme.Storage {
	t.Helper()
	conn, err := bus.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	storage, err := acme.NATS(t.Context(), conn, nil)
	if err != nil {
		t.Fatal(err)
	}
	return storage
}
