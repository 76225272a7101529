package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"testing"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

func BenchmarkDo(b *testing.B) {
	for _, n := range []int{1, 3, 100} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			set := upstream.Static(addresses(n)...)
			b.ReportAllocs()
			for b.Loop() {
				if err := set.Do(b.Context(), upstream.Call{}, answer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDoParallel(b *testing.B) {
	set := upstream.Static(addresses(3)...)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx, cancel := context.WithCancel(b.Context()) // as a server has it
		defer cancel()
		for pb.Next() {
			if err := set.Do(ctx, upstream.Call{}, answer); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkDoAdaptive(b *testing.B) {
	set := upstream.Static(addresses(3)...)
	call := upstream.Call{Policy: &upstream.Policy{Adaptive: true}}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx, cancel := context.WithCancel(b.Context()) // as a server has it
		defer cancel()
		for pb.Next() {
			if err := set.Do(ctx, call, answer); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkDoRefused(b *testing.B) { // all nodes have as many as they may
	for _, n := range []int{1, 3, 100} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			set := upstream.Static(addresses(n)...)
			call := upstream.Call{Policy: &upstream.Policy{Adaptive: true}}
			set.SetLimit(1)
			var wg sync.WaitGroup
			begun, done := make(chan struct{}), make(chan struct{})
			for range n {
				wg.Go(func() {
					_ = set.Do(b.Context(), call, func(context.Context, *upstream.Try) error {
						begun <- struct{}{}
						<-done
						return nil
					})
				})
				<-begun
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := set.Do(b.Context(), call, answer); !errors.Is(err, upstream.ErrOverloaded) {
					b.Fatal(err)
				}
			}
			close(done)
			wg.Wait()
		})
	}
}

func BenchmarkDoByKey(b *testing.B) { // idempotent, and to nodes of different weights
	var list []*registry.Node
	for i := range 10 {
		list = append(list, with(strconv.Itoa(i), "weight", strconv.Itoa(1+i%3)))
	}
	set := upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", list...)}).All()
	for _, by := range []string{"", "cookie:session"} {
		b.Run("by="+by, func(b *testing.B) {
			call := upstream.Call{
				Policy: &upstream.Policy{HashBy: by}, Idempotent: true,
				Header: http.Header{"Cookie": {"a=b; session=0123456789abcdef"}},
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := set.Do(b.Context(), call, answer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDoEjected(b *testing.B) { // a third of the nodes cannot be reached
	set := upstream.Static(addresses(3)...)
	attempt := func(ctx context.Context, t *upstream.Try) error {
		if t.Node.ID == "10.0.0.1:80" {
			return errRefused
		}
		return answer(ctx, t)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := set.Do(b.Context(), upstream.Call{}, attempt); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpdate(b *testing.B) { // one pool with 3 nodes and 10 Sets
	pools := upstream.NewPools(nil)
	states := [][]*registry.Service{{service("1", nodes(3)...)}, {service("1", nodes(3)...)}}
	pool := pools.Update("greeter", states[0])
	for i := range 10 {
		pool.Set(strconv.Itoa(i), func(*registry.Service) bool { return true })
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		pools.Update("greeter", states[i%2])
	}
}

func BenchmarkGuard(b *testing.B) { // the port of a listener, at an address that is not of this machine
	guard := &upstream.Guard{Listeners: []netip.AddrPort{netip.MustParseAddrPort("[::]:8080")}}
	for b.Loop() {
		if err := guard.Control(b.Context(), "tcp", "192.0.2.1:8080", nil); err != nil {
			b.Fatal(err)
		}
	}
}
