package registrytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// within returns the next state, or an error when there is none in time.
func (w *watch) within(d time.Duration) ([]*registry.Service, error) {
	ctx, cancel := context.WithTimeout(w.c.Context(), d)
	defer cancel()
	return w.Next(ctx)
}

func watchStartsComplete(c *check) {
	if got := c.watch().next(); len(got) != 0 {
		c.Fatalf("the first Watcher.Next() of an empty registry =\n%s, want none", text(got...))
	}
	want := make([]*registry.Service, 50)
	for i := range want {
		name := fmt.Sprintf("service-%02d", i)
		want[i] = service(name, "1.0.0", node(name+"-1"), node(name+"-2"))
		c.register(want[i], 0)
	}
	if got := c.watch().next(); text(got...) != text(want...) {
		c.Errorf("the first Watcher.Next() =\n%s, want\n%s", text(got...), text(want...))
	}
}

func watchSeesRegister(c *check) {
	w := c.watch()
	w.next()
	one := service("greeter", "1.0.0", node("greeter-1"))
	c.register(one, 0)
	w.awaitState("a new service", one)
	c.register(service("greeter", "1.0.0", node("greeter-2")), 0)
	w.awaitState("a new node", service("greeter", "1.0.0", node("greeter-1"), node("greeter-2")))
	moved := service("greeter", "1.0.0", node("greeter-1"), node("greeter-2"))
	moved.Nodes[1].Address = "127.0.0.1:9191"
	c.register(moved, 0)
	w.awaitState("a new address", moved)
}

func watchSeesDeregister(c *check) {
	stays := service("stays", "1.0.0", node("stays-1"))
	c.register(stays, 0)
	c.register(service("greeter", "1.0.0", node("greeter-1"), node("greeter-2")), 0)
	w := c.watch()
	w.next()
	c.deregister(service("greeter", "1.0.0", node("greeter-2")))
	w.awaitState("a node to be gone", service("greeter", "1.0.0", node("greeter-1")), stays)
	c.deregister(service("greeter", "1.0.0", node("greeter-1")))
	w.awaitState("a service to be gone", stays)
}

func watchSeesExpiry(c *check) {
	ttl := c.opts.MinTTL
	stays := service("stays", "1.0.0", node("stays-1"))
	c.register(stays, 0)
	w := c.watch()
	w.next()
	begun := time.Now()
	c.register(service("greeter", "1.0.0", node("greeter-1")), ttl)
	w.await("a new node", c.opts.Deadline, func(got []*registry.Service) bool { return hasNode(got, "greeter-1") })
	w.await("a node that is not renewed to be gone", ttl+c.lateness(), func(got []*registry.Service) bool {
		return equal(got, []*registry.Service{stays})
	})
	if lived := time.Since(begun); lived < ttl*9/10 {
		c.Errorf("a node with a TTL of %v was gone after %v", ttl, lived)
	}
	if got, err := c.reg.Get(c.bound(), "greeter"); !errors.Is(err, registry.ErrNotFound) {
		c.Errorf("Get after expiry = %s, %v, want ErrNotFound", text(got...), err)
	}
}

func watchKeepsUnchangedPointers(c *check) {
	names := []string{"a", "b", "c"}
	for _, name := range names {
		c.register(service(name, "1.0.0", node(name+"-1")), 0)
		c.register(service(name, "2.0.0", node(name+"-2")), 0)
	}
	w := c.watch()
	before := w.next()
	if len(before) != 6 {
		c.Fatalf("the first Watcher.Next() =\n%s, want 6 services", text(before...))
	}
	c.register(service("a", "1.0.0", node("a-1")), 0) // renewing is no change
	c.register(service("b", "2.0.0", node("b-3")), 0)
	after := w.await("a new node", c.opts.Deadline, func(got []*registry.Service) bool { return hasNode(got, "b-3") })
	if len(after) != len(before) {
		c.Fatalf("Watcher.Next() after a new node =\n%s, want 6 services", text(after...))
	}
	for i, s := range after {
		changed := s.Name == "b" && s.Version == "2.0.0"
		if kept := s == before[i]; kept == changed {
			c.Errorf("Watcher.Next() after a change to b 2.0.0: %s %s is the same pointer: %t, want %t", s.Name, s.Version, kept, !changed)
		}
	}
}

// watchSkipsToLatest reads late. The latest state must come, and none twice.
func watchSkipsToLatest(c *check) {
	const updates = 100
	w := c.watch()
	before := w.next()
	s := service("greeter", "1.0.0", node("greeter-1"))
	for i := range updates {
		s.Nodes[0].Metadata["update"] = strconv.Itoa(i)
		c.register(s, 0)
	}
	for states := 1; ; states++ {
		got := w.next()
		if slices.Equal(got, before) || text(got...) == text(before...) {
			c.Fatalf("Watcher.Next() =\n%s, which was returned before", text(got...))
		}
		if states > updates {
			c.Fatalf("Watcher.Next() returned more than %d states for as many changes", updates)
		}
		if equal(got, []*registry.Service{s}) {
			return
		}
		before = got
	}
}

// watchResumesWithTheSameState loses contact twice, and nothing changes
// meanwhile: whoever follows must learn that contact is back all the same.
func watchResumesWithTheSameState(c *check) {
	s := service("greeter", "1.0.0", node("greeter-1"))
	c.register(s, 0)
	w := c.watch()
	before := w.next()
	for range 2 {
		restore := c.opts.Sever(c.TB, c.reg)
		if got, err := w.Next(c.bound()); !errors.Is(err, registry.ErrUnavailable) {
			c.Fatalf("Watcher.Next() without contact = %s, %v, want ErrUnavailable", text(got...), err)
		}
		if got, err := w.within(200 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			c.Fatalf("Watcher.Next() after ErrUnavailable = %s, %v, want context.DeadlineExceeded", text(got...), err)
		}
		restore()
		after := w.next()
		if !slices.Equal(after, before) {
			c.Fatalf("Watcher.Next() with contact back =\n%s, want the same pointers to\n%s", text(after...), text(before...))
		}
	}
	if got, err := w.within(10 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		c.Fatalf("Watcher.Next() after that = %s, %v, want context.DeadlineExceeded", text(got...), err)
	}
	more := service("greeter", "1.0.0", node("greeter-1"), node("greeter-2"))
	c.register(more, 0)
	w.awaitState("a new node", more)
}

func watchCloseUnblocksNext(c *check) {
	w := c.watch()
	w.next()
	ended := make(chan error, 1)
	ctx := c.bound()
	go func() {
		_, err := w.Next(ctx)
		ended <- err
	}()
	for range 2 {
		if err := w.Close(); err != nil {
			c.Errorf("Watcher.Close() error = %v, want nil", err)
		}
	}
	if err := <-ended; !errors.Is(err, registry.ErrClosed) {
		c.Errorf("Watcher.Next() that Close interrupts: error = %v, want ErrClosed", err)
	}
	if _, err := w.Next(ctx); !errors.Is(err, registry.ErrClosed) {
		c.Errorf("Watcher.Next() after Close: error = %v, want ErrClosed", err)
	}
}

func watchNextHonoursContext(c *check) {
	opening, cancel := context.WithCancel(c.bound())
	opened, err := c.reg.Watch(opening)
	if err != nil {
		c.Fatalf("Watch() error = %v, want nil", err)
	}
	w := &watch{Watcher: opened, c: c}
	defer w.Close()
	cancel() // it bounds the call of Watch, not the watcher
	w.next()
	if got, err := w.within(10 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		c.Fatalf("Watcher.Next() without a change = %s, %v, want context.DeadlineExceeded", text(got...), err)
	}
	s := service("greeter", "1.0.0", node("greeter-1"))
	c.register(s, 0)
	w.awaitState("a new service", s)
}
