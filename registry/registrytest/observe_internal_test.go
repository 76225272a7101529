package registrytest

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// TestWatching: what happens is seen, and what does not ends the test.
func TestWatching(t *testing.T) {
	all := func(w *Watching) { w.Await("both nodes", HasNodes("2", "1")) }
	tests := []struct {
		name string
		do   func(f *faulty, w *Watching)
		want string // the failure; "" for none
	}{
		{"the state", func(_ *faulty, w *Watching) { all(w) }, ""},
		{"another state", func(_ *faulty, w *Watching) { w.Await("a third node", HasNodes("1", "2", "3")) },
			`Next() error = context deadline exceeded, want a third node; the nodes before are ["1" "2"]`},
		{"a change", func(f *faulty, w *Watching) {
			all(w)
			Register(w.t, f, Greeter("3"), 0)
			w.Await("a third node", HasNodes("1", "2", "3"))
		}, ""},
		{"a loss", func(f *faulty, w *Watching) {
			all(w)
			restore := sever(w.t, f)
			w.AwaitLoss()
			restore()
			w.Await("the state again", AnyState)
		}, ""},
		{"no loss", func(_ *faulty, w *Watching) { w.AwaitLoss() }, "Next() error = context deadline exceeded, want ErrUnavailable"},
		{"a loss that is borne", func(f *faulty, w *Watching) {
			all(w)
			restore := sever(w.t, f)
			time.AfterFunc(time.Second, restore)
			w.Await("the state again", AnyState)
		}, ""},
		{"nothing", func(_ *faulty, w *Watching) { all(w); w.WantNothing(time.Second) }, ""},
		{"something", func(_ *faulty, w *Watching) { w.WantNothing(time.Second) }, `Next() = the nodes ["1" "2"], <nil>; want nothing for 1s`},
		{"what cannot be registered", func(f *faulty, w *Watching) { Register(w.t, f, &registry.Service{Name: "a"}, 0) },
			"Register(a) error = registry: nodes: a service needs at least one node"},
		{"what cannot be watched", func(f *faulty, w *Watching) {
			if err := f.Close(); err != nil {
				w.t.Fatalf("Close() error = %v", err)
			}
			Watch(w.t, f)
		}, "Watch() error = registry: closed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{TB: t}
				f := newFaulty()
				Register(t, f, Greeter("1", "2"), 0)
				done := make(chan struct{})
				go func() {
					defer close(done) // also when Fatalf ends the goroutine
					tt.do(f, Watch(r, f))
				}()
				<-done
				r.cleanup()
				f.closeAll()
				want := slices.DeleteFunc([]string{tt.want}, func(s string) bool { return s == "" })
				if !slices.Equal(r.failures, want) {
					t.Errorf("failures = %q, want %q", strings.Join(r.failures, "; "), tt.want)
				}
			})
		})
	}
}
