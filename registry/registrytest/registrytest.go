// Package registrytest holds what every registry promises, as a test suite.
//
// The test of a registry calls [Run] with a function that opens an empty one:
//
//	func TestMemory(t *testing.T) {
//		registrytest.Run(t, func(*testing.T) registry.Registry { return new(registry.Memory) }, nil)
//	}
//
// Nothing in it sleeps or polls: it waits for what a watcher tells, up to a
// deadline. What a system cannot promise is a field of [Options].
package registrytest

import (
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// Options say what the registry under test cannot promise, and how to wait for
// it. A nil *Options means all defaults.
type Options struct {
	// MinTTL is the shortest time to live that the registry can keep.
	// Default: 1 s.
	MinTTL time.Duration
	// MaxRecord is the size in bytes of a service's JSON from which the registry
	// refuses it with registry.ErrTooLarge. Default: it has no bound.
	MaxRecord int
	// Deadline bounds the wait for anything that must happen, beyond the time
	// to live where a node expires and the clock is real. Default: 30 s.
	Deadline time.Duration
	// Sever cuts the contact of reg with the system behind it, which keeps what
	// it holds, and returns a function that restores it; a [Proxy] does that.
	// Default: contact cannot be lost.
	Sever func(t testing.TB, reg registry.Registry) (restore func())
	// Beside returns another way to write to the system behind reg, which Sever
	// does not cut. Default: there is none.
	Beside func(t testing.TB, reg registry.Registry) registry.Writer
	// Lose has the system behind reg lose all that it holds. It is called
	// between Sever and restore. Default: it loses nothing.
	Lose func(t testing.TB, reg registry.Registry)
	// Overwrite puts s in the place of what reg registered for the node of s, as
	// another that writes to the system may. Default: nobody can.
	Overwrite func(t testing.TB, reg registry.Registry, s *registry.Service)
	// Spoil puts a record that is no service beside those of reg, which is a
	// [registry.Reporter], and returns a function that removes it. Default:
	// nobody can.
	Spoil func(t testing.TB, reg registry.Registry) (mend func())
	// FakeClock runs each test in a bubble of testing/synctest, for registries
	// that live in the test's process. A node that expires must then be gone within
	// half of MinTTL more. Default: the clock is real.
	FakeClock bool
}

func (o *Options) orDefault() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.MinTTL == 0 {
		d.MinTTL = time.Second
	}
	if d.Deadline == 0 {
		d.Deadline = 30 * time.Second
	}
	return d
}

// Run tests a registry, each promise in a sub-test of its own. It calls open
// for each; open returns an empty registry, and closes what it opened with
// t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) registry.Registry, opts *Options) {
	t.Helper()
	o := opts.orDefault()
	for _, p := range promises(o) {
		t.Run(p.name, func(t *testing.T) {
			run := func(t *testing.T) {
				t.Helper()
				p.test(&check{TB: t, reg: open(t), opts: o})
			}
			if o.FakeClock {
				synctest.Test(t, run)
				return
			}
			run(t)
		})
	}
}

// A promise is something that a registry keeps. Its function fails the check
// when it does not.
type promise struct {
	name string
	keep func(c *check)
}

// test fails the check when the promise is not kept. A registry that panics does
// not keep it.
func (p promise) test(c *check) {
	c.Helper()
	defer func() {
		if v := recover(); v != nil {
			c.Errorf("%s: panic: %v\n%s", p.name, v, debug.Stack())
		}
	}()
	p.keep(c)
}

// promises returns those that a registry with the given options is to keep.
func promises(o Options) []promise {
	list := []promise{
		{"RegisterIsVisible", registerIsVisible},
		{"RegisterAddsNodes", registerAddsNodes},
		{"RegisterRenews", registerRenews},
		{"RegisterWithoutTTLStays", registerWithoutTTLStays},
		{"RegisterReplacesAnnouncement", registerReplacesAnnouncement},
		{"RegisterKeepsItsOwnCopy", registerKeepsItsOwnCopy},
		{"DeregisterIsIdempotent", deregisterIsIdempotent},
		{"DeregisterRemovesOnlyItsNodes", deregisterRemovesOnlyItsNodes},
		{"GetUnknownIsErrNotFound", getUnknownIsErrNotFound},
		{"GetReturnsEveryVersion", getReturnsEveryVersion},
		{"ListIsOrdered", listIsOrdered},
		{"DifferingAnnouncementsAreSeparate", differingAnnouncementsAreSeparate},
		{"RejectsWhatIsInvalid", rejectsWhatIsInvalid},
		{"ReadsBackEqual", readsBackEqual},
		{"ResultsDoNotChange", resultsDoNotChange},
		{"WatchStartsComplete", watchStartsComplete},
		{"WatchSeesRegister", watchSeesRegister},
		{"WatchSeesDeregister", watchSeesDeregister},
		{"WatchSeesExpiry", watchSeesExpiry},
		{"WatchKeepsUnchangedPointers", watchKeepsUnchangedPointers},
		{"WatchSkipsToLatest", watchSkipsToLatest},
		{"WatchCloseUnblocksNext", watchCloseUnblocksNext},
		{"WatchNextHonoursContext", watchNextHonoursContext},
		{"WatchIsQuietWithoutChange", watchIsQuietWithoutChange},
		{"ConcurrentUse", concurrentUse},
		{"CancelledIsNoFailure", cancelledIsNoFailure},
		{"CloseEndsAll", closeEndsAll},
	}
	for _, p := range []struct {
		promise

		able bool
	}{
		{promise{"TooLargeIsErrTooLarge", tooLargeIsErrTooLarge}, o.MaxRecord > 0},
		{promise{"RegisterRestores", registerRestores}, o.Overwrite != nil},
		{promise{"BadRecordIsLeftOut", badRecordIsLeftOut}, o.Spoil != nil},
		{promise{"WatchResumesWithTheSameState", watchResumesWithTheSameState}, o.Sever != nil},
		{promise{"CallsFailWithoutContact", callsFailWithoutContact}, o.Sever != nil},
		{promise{"WatchCatchesUp", watchCatchesUp}, o.Sever != nil && o.Beside != nil},
		{promise{"WatchSeesAnEmptySystem", watchSeesAnEmptySystem}, o.Sever != nil && o.Lose != nil},
	} {
		if p.able {
			list = append(list, p.promise)
		}
	}
	return list
}
