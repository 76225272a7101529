package registrytest

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// quiet is how long is waited for what must not happen.
const quiet = 200 * time.Millisecond

// wantQuiet fails when the watcher tells anything.
func (w *watch) wantQuiet(after string) {
	w.c.Helper()
	if got, err := w.within(quiet); !errors.Is(err, context.DeadlineExceeded) {
		w.c.Fatalf("Watcher.Next() after %s = %s, %v, want context.DeadlineExceeded", after, text(got...), err)
	}
}

// awaitLoss reads states until contact is lost.
func (w *watch) awaitLoss() {
	w.c.Helper()
	for ctx := w.c.bound(); ; {
		_, err := w.Next(ctx)
		if errors.Is(err, registry.ErrUnavailable) {
			return
		}
		if err != nil {
			w.c.Fatalf("Watcher.Next() without contact error = %v, want ErrUnavailable", err)
		}
	}
}

// watchIsQuietWithoutChange: to renew what is there, to remove what is not, and
// to ask, are no changes.
func watchIsQuietWithoutChange(c *check) {
	s := service("greeter", "1.0.0", node("greeter-1"), node("greeter-2"))
	c.register(s, time.Hour)
	w := c.watch()
	w.next()
	for range 3 {
		c.register(s, time.Hour)
		w.wantQuiet("a renewal")
	}
	c.deregister(service("greeter", "1.0.0", node("greeter-3")))
	c.deregister(service("unknown", "1.0.0", node("unknown-1")))
	w.wantQuiet("Deregister of what is absent")
	c.list()
	c.wantGet("greeter", s)
	c.watch().next()
	w.wantQuiet("List, Get and another watcher")
}

// calls makes each call of a registry, and returns their errors by name.
func (c *check) calls(ctx context.Context, s *registry.Service) map[string]error {
	_, get := c.reg.Get(ctx, s.Name)
	_, list := c.reg.List(ctx)
	return map[string]error{
		"Get": get, "List": list, "Register": c.reg.Register(ctx, s, time.Hour), "Deregister": c.reg.Deregister(ctx, s),
	}
}

// cancelledIsNoFailure: whoever gives up learns that he did. A registry whose
// caller left is not one that cannot be reached.
func cancelledIsNoFailure(c *check) {
	s := service("greeter", "1.0.0", node("greeter-1"))
	c.register(s, 0)
	w := c.watch()
	w.next()
	ctx, cancel := context.WithCancel(c.Context())
	cancel()
	errs := c.calls(ctx, s)
	_, errs["Watcher.Next"] = w.Next(ctx)
	opened, err := c.reg.Watch(ctx)
	if err == nil { // a watcher that has nothing to wait for may be opened
		if err := opened.Close(); err != nil {
			c.Errorf("Watcher.Close() error = %v, want nil", err)
		}
		err = context.Canceled
	}
	errs["Watch"] = err
	for call, err := range errs {
		if !errors.Is(err, context.Canceled) || errors.Is(err, registry.ErrUnavailable) {
			c.Errorf("%s with a context that was cancelled: error = %v, want context.Canceled, and not ErrUnavailable", call, err)
		}
	}
	c.wantGet("greeter", s)
}

// closeEndsAll closes the registry, if that is possible, while a watcher waits.
func closeEndsAll(c *check) {
	closer, ok := c.reg.(io.Closer)
	if !ok {
		return
	}
	s := service("greeter", "1.0.0", node("greeter-1"))
	c.register(s, 0)
	w := c.watch()
	w.awaitState("a new node", s)
	ctx := c.bound()
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := w.Next(ctx); err != nil { // the same state may come again before
				ended <- err
				return
			}
		}
	}()
	for range 2 {
		if err := closer.Close(); err != nil {
			c.Errorf("Close() error = %v, want nil", err)
		}
	}
	errs := c.calls(ctx, s)
	errs["Watcher.Next that Close interrupts"] = <-ended
	_, errs["Watcher.Next"] = w.Next(ctx)
	_, errs["Watch"] = c.reg.Watch(ctx)
	for call, err := range errs {
		if !errors.Is(err, registry.ErrClosed) {
			c.Errorf("%s after Close: error = %v, want ErrClosed", call, err)
		}
	}
}

// registerRestores: what somebody else wrote in the place of a node, or removed,
// is there again when the node is renewed.
func registerRestores(c *check) {
	s := service("greeter", "1.0.0", node("greeter-1"))
	c.register(s, time.Hour)
	w := c.watch()
	w.awaitState("a new node", s)
	other := service("greeter", "2.0.0", node("greeter-1"))
	other.Nodes[0].Address = "127.0.0.1:9191"
	c.opts.Overwrite(c.TB, c.reg, other)
	w.awaitState("what another wrote", other)
	c.register(s, time.Hour)
	w.awaitState("what the renewal restored", s)
	c.wantGet("greeter", s)
	none := service("greeter", "1.0.0", node("greeter-1"))
	none.Endpoints, none.Metadata = nil, nil
	c.opts.Overwrite(c.TB, c.reg, none)
	w.awaitState("less than was registered", none)
	c.register(s, time.Hour)
	w.awaitState("what another renewal restored", s)
}

// badRecordIsLeftOut: it is reported, and nothing else suffers.
func badRecordIsLeftOut(c *check) {
	reporter, ok := c.reg.(registry.Reporter)
	if !ok {
		c.Fatalf("a registry whose records others may spoil is no Reporter")
	}
	one, two := service("greeter", "1.0.0", node("greeter-1")), service("greeter", "1.0.0", node("greeter-1"), node("greeter-2"))
	c.register(one, 0)
	w := c.watch()
	w.awaitState("a new node", one)
	if got := reporter.LeftOut(); len(got) != 0 {
		c.Errorf("LeftOut() = %+v, want none", got)
	}
	mend := c.opts.Spoil(c.TB, c.reg)
	left := w.awaitLeftOut(reporter, 1)
	if left[0].Key == "" || left[0].Reason == "" {
		c.Errorf("LeftOut() = %+v, want a key and a reason", left)
	}
	if got := c.list(); !equal(got, []*registry.Service{one}) {
		c.Errorf("List() beside a record that is no service =\n%s, want\n%s", text(got...), text(one))
	}
	c.register(two, 0)
	w.awaitState("a new node beside it", two)
	c.wantGet("greeter", two)
	mend()
	w.awaitLeftOut(reporter, 0)
}

// awaitLeftOut waits until so many records are left out, and nothing changes
// meanwhile.
func (w *watch) awaitLeftOut(reporter registry.Reporter, n int) []registry.Omission {
	w.c.Helper()
	for ctx := w.c.bound(); ; {
		w.wantQuiet("a record that is no service, or its end")
		w.c.list()
		got := reporter.LeftOut()
		if len(got) == n {
			return got
		}
		if ctx.Err() != nil {
			w.c.Fatalf("LeftOut() = %+v, want %d", got, n)
		}
	}
}

// callsFailWithoutContact: and work again when it is back.
func callsFailWithoutContact(c *check) {
	s := service("greeter", "1.0.0", node("greeter-1"))
	c.register(s, 0)
	w := c.watch()
	w.next()
	restore := c.opts.Sever(c.TB, c.reg)
	w.awaitLoss()
	for call, err := range c.calls(c.bound(), service("late", "1.0.0", node("late-1"))) {
		absent := call == "Deregister" && err == nil // which takes no contact to say
		if !errors.Is(err, registry.ErrUnavailable) && !absent {
			c.Errorf("%s without contact: error = %v, want ErrUnavailable", call, err)
		}
	}
	restore()
	w.await("the state with contact back", c.opts.Deadline, func(got []*registry.Service) bool { return hasNode(got, "greeter-1") })
	late := service("late", "1.0.0", node("late-1"))
	c.register(late, 0)
	w.awaitState("a new service", s, late)
	c.wantGet("greeter", s)
}

// watchCatchesUp: what happens without contact is there when contact is back.
func watchCatchesUp(c *check) {
	stays, goes := service("stays", "1.0.0", node("stays-1")), service("greeter", "1.0.0", node("greeter-1"))
	beside := c.opts.Beside(c.TB, c.reg)
	for _, s := range []*registry.Service{stays, goes} {
		if err := beside.Register(c.bound(), s, 0); err != nil {
			c.Fatalf("Register(%s) beside error = %v, want nil", text(s), err)
		}
	}
	w := c.watch()
	before := w.await("what is registered beside", c.opts.Deadline, func(got []*registry.Service) bool {
		return equal(got, []*registry.Service{stays, goes})
	})
	restore := c.opts.Sever(c.TB, c.reg)
	w.awaitLoss()
	comes := service("greeter", "1.0.0", node("greeter-2"))
	if err := errors.Join(beside.Deregister(c.bound(), goes), beside.Register(c.bound(), comes, 0)); err != nil {
		c.Fatalf("Register and Deregister beside error = %v, want nil", err)
	}
	restore()
	after := w.await("what changed without contact", c.opts.Deadline, func(got []*registry.Service) bool {
		return equal(got, []*registry.Service{stays, comes})
	})
	kept := func(s *registry.Service) bool { return s.Name == stays.Name && slices.Contains(before, s) }
	if !slices.ContainsFunc(after, kept) {
		c.Errorf("Watcher.Next() with contact back: a service that did not change is another pointer, want the same")
	}
}

// watchSeesAnEmptySystem: one that lost all while there was no contact.
func watchSeesAnEmptySystem(c *check) {
	s := service("greeter", "1.0.0", node("greeter-1"))
	c.register(s, time.Hour)
	w := c.watch()
	w.awaitState("a new node", s)
	restore := c.opts.Sever(c.TB, c.reg)
	w.awaitLoss()
	c.opts.Lose(c.TB, c.reg)
	restore()
	w.awaitState("an empty state")
	c.register(s, time.Hour)
	w.awaitState("what is registered again", s)
	c.wantGet("greeter", s)
}
