package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// A registerBench measures how soon the gateway serves a change.
type registerBench struct {
	registry string
	services int
	changes  int
}

func (b *registerBench) flags(f *flag.FlagSet) {
	f.StringVar(&b.registry, "registry", "embedded:", "the registry of the gateway, a URL")
	f.IntVar(&b.services, "services", 1000, "services that are announced beside")
	f.IntVar(&b.changes, "changes", 1000, "services that come and go, one by one")
}

func (b *registerBench) run(ctx context.Context, out io.Writer) (err error) {
	if b.services < 0 || b.changes < 1 {
		return errors.New("-changes is at least 1, -services at least 0")
	}
	l, err := newLab()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	g, err := runGoapi(ctx, l, anyCore, address, "--registry", b.registry)
	if err != nil {
		return err
	}
	origin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer origin.Close()

	m := &changes{gateway: g, public: "http://" + address, node: origin.Listener.Addr().String()}
	if err := m.fill(ctx, b.services); err != nil {
		return err
	}
	for i := range b.changes {
		if err := m.comeAndGo(ctx, i); err != nil {
			return err
		}
	}
	b.print(out, m)
	return nil
}

// print writes the table.
func (b *registerBench) print(out io.Writer, m *changes) {
	fmt.Fprintf(out, "\nChange to request: %d changes beside %d services, registry %s, %s\n\n", b.changes, b.services, b.registry, machine())
	fmt.Fprintln(out, "| from → to, ms | median | p99 | most |")
	fmt.Fprintln(out, "|---|---:|---:|---:|")
	for _, row := range []struct {
		name string
		took []time.Duration
	}{
		{"Register over the admin API → first request routed", m.came},
		{"Deregister over the admin API → first request refused", m.went},
	} {
		ms := func(q float64) float64 { return float64(quantile(row.took, q).Microseconds()) / 1e3 }
		fmt.Fprintf(out, "| %s | %.1f | %.1f | %.1f |\n", row.name, ms(0.5), ms(0.99), ms(1))
	}
}

// changes is what was measured of services that come and go.
type changes struct {
	gateway    *gateway
	public     string // the URL of the gateway
	node       string // the address of every service
	came, went []time.Duration
}

// fill announces the services that stay, and waits until the last is served.
func (m *changes) fill(ctx context.Context, services int) error {
	for i := range services {
		path := "/stays/" + strconv.Itoa(i)
		if err := m.gateway.register(ctx, newService("stays-"+strconv.Itoa(i), m.node, "http", path)); err != nil {
			return err
		}
		if i == services-1 {
			return m.until(ctx, path, http.StatusOK)
		}
	}
	return nil
}

// comeAndGo announces a service until it is served, and withdraws it until it
// is not. Both are timed from before the call of the admin API.
func (m *changes) comeAndGo(ctx context.Context, i int) error {
	path := "/goes/" + strconv.Itoa(i)
	s := newService("goes-"+strconv.Itoa(i), m.node, "http", path)
	took, err := m.timed(ctx, m.gateway.register, s, path, http.StatusOK)
	if err != nil {
		return err
	}
	m.came = append(m.came, took)
	took, err = m.timed(ctx, m.gateway.deregister, s, path, http.StatusNotFound)
	if err != nil {
		return err
	}
	m.went = append(m.went, took)
	return nil
}

// timed makes a change and returns how long it took to show.
func (m *changes) timed(
	ctx context.Context, change func(context.Context, *registry.Service) error, s *registry.Service, path string, status int,
) (time.Duration, error) {
	start := time.Now()
	if err := change(ctx, s); err != nil {
		return 0, err
	}
	err := m.until(ctx, path, status)
	return time.Since(start), err
}

// until asks for a path, again and again, until the answer has the status.
func (m *changes) until(ctx context.Context, path string, status int) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		got, err := fetch(ctx, m.gateway.client, http.MethodGet, m.public+path, nil)
		if err != nil {
			return fmt.Errorf("%s does not become %d: %w", path, status, err)
		}
		if got.status == status {
			return nil
		}
	}
}
