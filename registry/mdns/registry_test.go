package mdns

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

func TestRegistry(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registry.Registry { return open(t, "mdns:") }, &registrytest.Options{
		MinTTL: 500 * time.Millisecond, MaxRecord: maxText, Sever: sever,
	})
}

// TestRegistryOverTheNetwork reads with one registry what another one announces.
func TestRegistryOverTheNetwork(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registry.Registry {
		return &pair{Registry: open(t, "mdns:"), writer: open(t, "mdns:")}
	}, &registrytest.Options{MinTTL: 500 * time.Millisecond, MaxRecord: maxText})
}

// A pair reads with one registry what it writes with another. A write ends when
// it has arrived.
type pair struct {
	*Registry

	writer *Registry
}

func (p *pair) Register(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	if err := p.writer.Register(ctx, s, ttl); err != nil {
		return err
	}
	return p.arrived(ctx, s.Name)
}

func (p *pair) Deregister(ctx context.Context, s *registry.Service) error {
	if err := p.writer.Deregister(ctx, s); err != nil {
		return err
	}
	return p.arrived(ctx, s.Name)
}

// arrived waits until the reader has of a service what the writer has.
func (p *pair) arrived(ctx context.Context, name string) error {
	if err := p.await(ctx); err != nil {
		return err
	}
	for {
		want, announced := p.writer.get(name)
		got, heard := p.get(name)
		if asText(got) == asText(want) {
			return nil
		}
		select {
		case <-announced: // others use them, too
		case <-heard:
		case <-ctx.Done():
			return fmt.Errorf("the reader has\n%s, the writer\n%s: %w", asText(got), asText(want), ctx.Err())
		}
	}
}

// asText returns services as JSON, in which what is empty is null.
func asText(services []*registry.Service) string {
	data, err := json.Marshal(services)
	if err != nil {
		return err.Error()
	}
	return strings.NewReplacer(":{}", ":null", ":[]", ":null").Replace(string(data))
}

// sever takes the loopback away, which is all that there is.
func sever(tb testing.TB, _ registry.Registry) (restore func()) {
	tb.Helper()
	if err := loopback(false); err != nil {
		tb.Fatal(err)
	}
	return func() {
		if err := loopback(true); err != nil {
			tb.Fatal(err)
		}
	}
}

// open opens a registry that is closed when the test ends.
func open(t testing.TB, address string) *Registry {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), u, nil)
	if err != nil {
		t.Fatalf("Open(%s) error = %v", address, err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close() error = %v", err)
		}
	})
	return r
}
