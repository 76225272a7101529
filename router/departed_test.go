package router_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/resolver"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

// TestDeparted announces services and withdraws them: what they had is known for a
// while to have had a service, unless another has it now.
func TestDeparted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reg registry.Memory
		live := run(t, &reg, &router.Options{
			Resolver: resolver.Path, Operator: func(service string) bool { return service == "own" },
		})
		announce := func(s *registry.Service) {
			t.Helper()
			if err := reg.Register(t.Context(), s, 0); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		withdraw := func(s *registry.Service) {
			t.Helper()
			if err := reg.Deregister(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		want := func(path string, status int) {
			t.Helper()
			rt, err := live.Route(get(path))
			switch {
			case status == 200 && err != nil, status != 200 && goapi.Status(err) != status:
				t.Errorf("Route(%s) = %v, %v, want %d", path, rt, err, status)
			case status == 503 && (!errors.Is(err, upstream.ErrNoNodes) || !strings.Contains(err.Error(), "none is announced any more")):
				t.Errorf("Route(%s) = %v, want ErrNoNodes and a reason", path, err)
			}
		}
		a, wide, own := service("a", "path=/a"), service("wide", "path=/w/**"), service("own", "path=/own")
		plain := &registry.Service{Name: "plain", Nodes: nodes("plain-1")}
		for _, s := range []*registry.Service{a, wide, own, plain} {
			announce(s)
		}
		for _, path := range []string{"/a", "/w/x", "/own", "/plain/x"} {
			want(path, 200)
		}
		for _, s := range []*registry.Service{a, wide, own, plain} {
			withdraw(s)
		}
		for path, status := range map[string]int{"/a": 503, "/w/x": 503, "/own": 404, "/plain/x": 503, "/b": 404, "/none/x": 404} {
			want(path, status)
		}
		announce(service("b", "path=/a"))
		want("/a", 200) // of another
		announce(wide)
		want("/w/x", 200)
		withdraw(wide)
		want("/w/x", 503)

		time.Sleep(14 * time.Minute)
		want("/plain/x", 503)
		time.Sleep(2 * time.Minute) // nothing happens meanwhile
		for _, path := range []string{"/w/x", "/plain/x"} {
			want(path, 404)
		}

		for i := range 300 {
			s := service(fmt.Sprint("many-", i), fmt.Sprint("path=/many/", i))
			announce(s)
			withdraw(s)
		}
		want("/many/299", 503)
		want("/many/100", 503)
		want("/many/0", 404) // it went first, of more than are known
	})
}
