package router_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

func TestLiveWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reg registry.Memory
		live := router.NewLive(&reg, upstream.NewPools(nil), nil)
		w, err := live.Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		early, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := w.Next(early); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next before the registry has told its state = %v, %v; want to wait", got, err)
		}
		go live.Run(t.Context()) // ends with the test
		if got, err := w.Next(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("first Next = %v, %v; want the empty state", got, err)
		}
		for range 3 { // states may be skipped, the latest is not
			if err := reg.Register(t.Context(), service("s", "path=/a"), 0); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if err := reg.Register(t.Context(), service("r", "path=/b"), 0); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			got, err := w.Next(t.Context())
			if err != nil || len(got) != 2 {
				t.Fatalf("Next after two changes = %v, %v; want both services", got, err)
			}
			rt, err := live.Route(get("/b"))
			if err != nil || rt.Upstream.Len() != 1 {
				t.Errorf("Route after Next = %v, %v; want what Next told", rt, err)
			}
			if err := reg.Deregister(t.Context(), service("r", "path=/b")); err != nil {
				t.Fatal(err)
			}
			if got, err := w.Next(t.Context()); err != nil || len(got) != 1 {
				t.Fatalf("Next after one left = %v, %v; want the other", got, err)
			}
		}
		pending := make(chan error, 1)
		go func() {
			_, err := w.Next(t.Context())
			pending <- err
		}()
		synctest.Wait()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := <-pending; !errors.Is(err, registry.ErrClosed) {
			t.Errorf("pending Next after Close = %v, want ErrClosed", err)
		}
	})
}
