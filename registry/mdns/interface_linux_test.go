package mdns

import (
	"errors"
	"sync"
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

// TestNoInterface starts without any interface, which comes later.
func TestNoInterface(t *testing.T) {
	if err := loopback(false); err != nil { // and there is no other
		t.Fatal(err)
	}
	restore := sync.OnceFunc(func() {
		if err := loopback(true); err != nil {
			t.Fatal(err)
		}
	})
	defer restore()
	r := open(t, "mdns:?domain=later")
	if _, err := r.Get(t.Context(), "greeter"); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Get error = %v, want ErrUnavailable", err)
	}
	if _, err := r.List(t.Context()); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("List error = %v, want ErrUnavailable", err)
	}
	if err := r.Register(t.Context(), greeter("127.0.0.1:1"), 0); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Register error = %v, want ErrUnavailable", err)
	}
	if err := r.Deregister(t.Context(), greeter("127.0.0.1:1")); err != nil {
		t.Errorf("Deregister error = %v, want nil", err)
	}
	w := watch(t, r)
	if _, err := w.Next(t.Context()); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Next error = %v, want ErrUnavailable", err)
	}
	restore()
	await(t, w, "null")
	register(t, r, greeter("127.0.0.1:1"))
	await(t, w, asText([]*registry.Service{greeter("127.0.0.1:1")}))
	other := open(t, "mdns:?domain=later")
	await(t, watch(t, other), asText([]*registry.Service{greeter("127.0.0.1:1")}))
}
