package registry_test

import (
	"context"
	"errors"
	"testing"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

func TestLazy(t *testing.T) {
	registrytest.Run(t, func(*testing.T) registry.Registry {
		return registry.NewLazy(func(context.Context) (registry.Registry, error) { return new(registry.Memory), nil })
	}, &registrytest.Options{FakeClock: true})
}

// closing counts how often it is closed.
type closing struct {
	registry.Memory

	closed int
}

func (c *closing) Close() error {
	c.closed++
	return nil
}

func TestLazyOpensWhenItCan(t *testing.T) {
	down, opened := errors.New("down"), 0
	inner := new(closing)
	l := registry.NewLazy(func(context.Context) (registry.Registry, error) {
		if opened++; opened < 3 {
			return nil, down
		}
		return inner, nil
	})
	for range 2 {
		if _, err := l.List(t.Context()); !errors.Is(err, registry.ErrUnavailable) || !errors.Is(err, down) {
			t.Errorf("List while it cannot be opened = %v, want ErrUnavailable and the reason", err)
		}
	}
	if l.Opened() != nil || len(l.LeftOut()) != 0 {
		t.Errorf("Opened = %v before it is", l.Opened())
	}
	for range 2 {
		if _, err := l.Watch(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if opened != 3 || l.Opened() != registry.Registry(inner) {
		t.Errorf("opened %d times, as %v; want the third to be kept", opened, l.Opened())
	}
	for range 2 {
		if err := l.Close(); err != nil || inner.closed != 1 {
			t.Errorf("Close = %v, and the registry was closed %d times, want once", err, inner.closed)
		}
	}
	if err := l.Deregister(t.Context(), &registry.Service{Name: "a"}); !errors.Is(err, registry.ErrClosed) {
		t.Errorf("Deregister after Close = %v, want ErrClosed", err)
	}
}

func TestLazyIsClosedWhileItOpens(t *testing.T) {
	inner, begun, end := new(closing), make(chan struct{}), make(chan struct{})
	l := registry.NewLazy(func(context.Context) (registry.Registry, error) {
		close(begun)
		<-end
		return inner, nil
	})
	result := make(chan error)
	go func() {
		_, err := l.List(context.Background())
		result <- err
	}()
	<-begun
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.List(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("List whose context is done while another opens = %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	close(end)
	if err := <-result; !errors.Is(err, registry.ErrClosed) || inner.closed != 1 {
		t.Errorf("List = %v, and the registry was closed %d times; want ErrClosed, once", err, inner.closed)
	}
}
