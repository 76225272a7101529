package registrytest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

func registerIsVisible(c *check) {
	s := service("greeter", "1.0.0", node("greeter-1"))
	c.register(s, 0)
	c.wantGet("greeter", s)
	if got := c.list(); !equal(got, []*registry.Service{s}) {
		c.Errorf("List() =\n%s, want\n%s", text(got...), text(s))
	}
}

func registerAddsNodes(c *check) {
	c.register(service("greeter", "1.0.0", node("greeter-3")), 0)
	c.register(service("greeter", "1.0.0", node("greeter-2"), node("greeter-1")), 0)
	c.wantGet("greeter", service("greeter", "1.0.0", node("greeter-1"), node("greeter-2"), node("greeter-3")))
}

// registerRenews renews one node for as long as another, which has twice the
// time, lives without.
func registerRenews(c *check) {
	ttl := c.opts.MinTTL
	renewed := service("renewed", "1.0.0", node("renewed-1"))
	c.register(renewed, ttl)
	c.register(service("expires", "1.0.0", node("expires-1")), 2*ttl)
	w := c.watch()
	for deadline := time.Now().Add(2*ttl + c.lateness()); ; {
		got, err := w.within(ttl / 3)
		switch {
		case time.Now().After(deadline):
			c.Fatalf("a node with a TTL of %v that is not renewed is there %v later", 2*ttl, c.lateness())
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			c.Fatalf("Watcher.Next() error = %v, want a node that is not renewed to be gone after %v", err, 2*ttl)
		case err != nil:
			c.register(renewed, ttl)
		case !hasNode(got, "renewed-1"):
			c.Fatalf("Watcher.Next() =\n%s, want the node that is renewed in time", text(got...))
		case !hasNode(got, "expires-1"):
			c.wantGet("renewed", renewed)
			return
		}
	}
}

// registerWithoutTTLStays takes back a time to live, and waits until twice that
// time is over.
func registerWithoutTTLStays(c *check) {
	ttl := c.opts.MinTTL
	stays := service("stays", "1.0.0", node("stays-1"))
	c.register(stays, ttl)
	c.register(stays, 0)
	c.register(service("expires", "1.0.0", node("expires-1")), 2*ttl)
	w := c.watch()
	w.await("a node that is not renewed to be gone", 2*ttl+c.lateness(), func(got []*registry.Service) bool {
		return !hasNode(got, "expires-1")
	})
	c.wantGet("stays", stays)
}

func registerReplacesAnnouncement(c *check) {
	c.register(service("greeter", "1.0.0", node("greeter-1")), 0)
	moved := service("greeter", "1.0.0", node("greeter-1"))
	moved.Nodes[0].Address = "127.0.0.1:9191"
	moved.Nodes[0].Metadata["protocol"] = "grpc"
	moved.Metadata["team"] = "red"
	moved.Endpoints[0].Name = "Greeter.Bye"
	c.register(moved, 0)
	c.wantGet("greeter", moved)

	upgraded := service("greeter", "2.0.0", node("greeter-1"))
	c.register(upgraded, 0)
	c.wantGet("greeter", upgraded)
}

func registerKeepsItsOwnCopy(c *check) {
	s := service("greeter", "1.0.0", node("greeter-1"))
	c.register(s, 0)
	s.Metadata["team"] = "red"
	s.Nodes[0].Address = "127.0.0.1:1"
	s.Endpoints[0].Metadata["path"] = "/other"
	s.Endpoints[0].Request.Values[0].Name = "other"
	c.wantGet("greeter", service("greeter", "1.0.0", node("greeter-1")))
}

func deregisterIsIdempotent(c *check) {
	s := service("greeter", "1.0.0", node("greeter-1"))
	c.deregister(s)
	c.register(s, 0)
	for range 2 {
		c.deregister(s)
		if got, err := c.reg.Get(c.bound(), "greeter"); !errors.Is(err, registry.ErrNotFound) {
			c.Fatalf("Get after Deregister = %s, %v, want ErrNotFound", text(got...), err)
		}
		if got := c.list(); len(got) != 0 {
			c.Fatalf("List() after Deregister =\n%s, want none", text(got...))
		}
	}
	c.register(s, 0)
	c.wantGet("greeter", s)
}

// deregisterRemovesOnlyItsNodes also shows that ids are enough.
func deregisterRemovesOnlyItsNodes(c *check) {
	c.register(service("greeter", "1.0.0", node("greeter-1"), node("greeter-2")), 0)
	c.register(service("greeter", "2.0.0", node("greeter-3")), 0)
	c.register(service("other", "1.0.0", node("greeter-1")), 0)
	c.deregister(&registry.Service{Name: "greeter", Nodes: []*registry.Node{{ID: "greeter-1"}, {ID: "greeter-4"}}})
	c.wantGet("greeter", service("greeter", "1.0.0", node("greeter-2")), service("greeter", "2.0.0", node("greeter-3")))
	c.wantGet("other", service("other", "1.0.0", node("greeter-1")))
}

func getUnknownIsErrNotFound(c *check) {
	c.register(service("greeter", "1.0.0", node("greeter-1")), 0)
	for _, name := range []string{"greet", "greeter.more", "Greeter", "greeter-1", ""} {
		if got, err := c.reg.Get(c.bound(), name); !errors.Is(err, registry.ErrNotFound) {
			c.Errorf("Get(%q) = %s, %v, want ErrNotFound", name, text(got...), err)
		}
	}
}

func getReturnsEveryVersion(c *check) {
	one, two := service("greeter", "1.0.0", node("greeter-1")), service("greeter", "2.0.0", node("greeter-2"))
	none := service("greeter", "", node("greeter-3"))
	c.register(two, 0)
	c.register(one, 0)
	c.register(none, 0)
	c.register(service("greeter.more", "3.0.0", node("more-1")), 0)
	c.wantGet("greeter", none, one, two)
}

func listIsOrdered(c *check) {
	for _, s := range []*registry.Service{
		service("b", "1", node("b-1")), service("a.b", "1", node("a.b-1")), service("b", "10", node("b-10")),
		service("a", "2", node("a-2")), service("B", "1", node("B-1")), service("a", "1", node("a-1")),
	} {
		c.register(s, 0)
	}
	services := c.list()
	got := make([]string, len(services))
	for i, s := range services {
		got[i] = s.Name + " " + s.Version
	}
	if want := []string{"B 1", "a 1", "a 2", "a.b 1", "b 1", "b 10"}; !slices.Equal(got, want) {
		c.Errorf("List() = %q, want %q", got, want)
	}
}

func differingAnnouncementsAreSeparate(c *check) {
	old, other, deployed := service("greeter", "latest", node("greeter-1")),
		service("greeter", "latest", node("greeter-2")), service("greeter", "latest", node("greeter-3"))
	other.Metadata["team"] = "red"
	deployed.Endpoints[0].Metadata["path"] = "/hi/{name}"
	for _, s := range []*registry.Service{old, other, deployed} {
		c.register(s, 0)
	}
	first := c.wantGet("greeter", old, other, deployed)
	c.deregister(other)
	c.register(other, 0)
	again := c.wantGet("greeter", old, other, deployed)
	if text(first...) != text(again...) {
		c.Errorf("Get(greeter) =\n%s, want the order from before:\n%s", text(again...), text(first...))
	}
}

func rejectsWhatIsInvalid(c *check) {
	tests := []struct {
		field string
		spoil func(s *registry.Service)
	}{
		{"name", func(s *registry.Service) { s.Name = "" }},
		{"name", func(s *registry.Service) { s.Name = "a\x00b" }},
		{"name", func(s *registry.Service) { s.Name = strings.Repeat("a", 256) }},
		{"nodes", func(s *registry.Service) { s.Nodes = nil }},
		{"nodes[0]", func(s *registry.Service) { s.Nodes[0] = nil }},
		{"endpoints[0]", func(s *registry.Service) { s.Endpoints[0] = nil }},
		{"nodes[1].id", func(s *registry.Service) { s.Nodes[1].ID = "" }},
		{"nodes[1].id", func(s *registry.Service) { s.Nodes[1].ID = s.Nodes[0].ID }},
		{"nodes[0].address", func(s *registry.Service) { s.Nodes[0].Address = "127.0.0.1" }},
		{"nodes[1].address", func(s *registry.Service) { s.Nodes[1].Address = "127.0.0.1:0" }},
		{"nodes[1].address", func(s *registry.Service) { s.Nodes[1].Address = "169.254.169.254:80" }},
	}
	for _, tt := range tests {
		s := service("greeter", "1.0.0", node("greeter-1"), node("greeter-2"))
		tt.spoil(s)
		err := c.reg.Register(c.bound(), s, 0)
		if field, ok := errors.AsType[*registry.FieldError](err); !ok || field.Field != tt.field {
			c.Errorf("Register of a bad %s error = %v, want a FieldError of it", tt.field, err)
		}
	}
	err := c.reg.Register(c.bound(), service("greeter", "1.0.0", node("greeter-1")), -time.Second)
	if _, ok := errors.AsType[*registry.FieldError](err); !ok {
		c.Errorf("Register with a negative TTL error = %v, want a FieldError", err)
	}
	if got := c.list(); len(got) != 0 {
		c.Errorf("List() after what was refused =\n%s, want none", text(got...))
	}
}

func readsBackEqual(c *check) {
	names := []string{
		"go.micro.srv.greeter", "topic:orders", "a/b", "a b", "a_b", "a=b", "a*b", "a>b", "../a", ".", "..", "$KV", "-",
		"grüße", "\u6328\u62f6", "👋", "%2F", `"quoted"\`, "<a>&b", strings.Repeat("n", 255),
	}
	want := make([]*registry.Service, 0, len(names))
	for i, name := range names {
		s := service(name, "v/1 ü", node(name))
		s.Nodes[0].Address = []string{"127.0.0.1:1", "[::1]:65535", "node.example:80"}[i%3]
		s.Nodes[0].Metadata[name] = name
		s.Metadata[name] = "line one\nline two\t\x00"
		s.Endpoints[0].Metadata["path"] = "^/" + name + "/{1,3}$"
		want = append(want, s)
		c.register(s, c.opts.MinTTL+time.Hour)
	}
	for _, s := range want {
		c.wantGet(s.Name, s)
	}
	slices.SortFunc(want, func(a, b *registry.Service) int { return cmp.Compare(a.Name, b.Name) })
	if got := c.list(); text(got...) != text(want...) {
		c.Errorf("List() =\n%s, want\n%s", text(got...), text(want...))
	}
	c.watch().awaitState("the same as List", want...)
	for _, s := range want {
		c.deregister(s)
	}
	if got := c.list(); len(got) != 0 {
		c.Errorf("List() after Deregister of all =\n%s, want none", text(got...))
	}
}

func resultsDoNotChange(c *check) {
	c.register(service("greeter", "1.0.0", node("greeter-1"), node("greeter-2")), 0)
	got, listed, watched := c.wantGet("greeter", service("greeter", "1.0.0", node("greeter-1"), node("greeter-2"))), c.list(), c.watch().next()
	before := text(slices.Concat(got, listed, watched)...)
	moved := service("greeter", "1.0.0", node("greeter-1"), node("greeter-3"))
	moved.Nodes[0].Address = "127.0.0.1:1"
	c.register(moved, 0)
	c.deregister(service("greeter", "1.0.0", node("greeter-2")))
	c.list()
	if after := text(slices.Concat(got, listed, watched)...); after != before {
		c.Errorf("what was handed out has become\n%s, want it to stay\n%s", after, before)
	}
}

// concurrentUse is of most use with the race detector.
func concurrentUse(c *check) {
	const users = 8
	w := c.watch()
	want := make([]*registry.Service, users)
	var wg sync.WaitGroup
	for i := range users {
		name := fmt.Sprintf("service-%d", i)
		want[i] = service(name, "1.0.0", node(name+"-1"), node(name+"-2"))
		wg.Go(func() { c.useAs(want[i]) })
	}
	w.awaitState("all services with all nodes", want...)
	wg.Wait()
}

// useAs does what a service and a reader do, and ends with s being registered.
func (c *check) useAs(s *registry.Service) {
	ctx := c.bound()
	for range 5 {
		added := c.reg.Register(ctx, s, time.Hour)
		_, got := c.reg.Get(ctx, s.Name)
		removed := c.reg.Deregister(ctx, s)
		_, listed := c.reg.List(ctx)
		again := c.reg.Register(ctx, s, time.Hour)
		if err := errors.Join(added, got, removed, listed, again); err != nil {
			c.Errorf("using %s: %v", s.Name, err)
		}
	}
}

func tooLargeIsErrTooLarge(c *check) {
	s := service("greeter", "1.0.0", node("greeter-1"))
	s.Metadata["padding"] = strings.Repeat("x", c.opts.MaxRecord)
	if err := c.reg.Register(c.bound(), s, 0); !errors.Is(err, registry.ErrTooLarge) {
		c.Errorf("Register of more than %d bytes error = %v, want ErrTooLarge", c.opts.MaxRecord, err)
	}
	if got := c.list(); len(got) != 0 {
		c.Errorf("List() after what was refused has %d services, want none", len(got))
	}
	small := service("greeter", "1.0.0", node("greeter-1"))
	c.register(small, 0)
	c.wantGet("greeter", small)
}
