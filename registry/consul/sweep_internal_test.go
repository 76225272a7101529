package consul

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestSweep(t *testing.T) {
	names := catalog{known: make(map[string]*known)}
	for i := range 100 {
		names.known[fmt.Sprint(i)] = new(known)
	}
	// run steps until a time is over, and returns how many names came, and when
	// the first did.
	run := func(s *sweep, d time.Duration) (count int, first time.Duration) {
		start, last := time.Now(), time.Now().Add(d)
		for {
			if after := s.after(); time.Now().Add(after).After(last) {
				time.Sleep(time.Until(last))
				return count, first
			}
			time.Sleep(s.after())
			part := s.step(&names)
			if count == 0 && len(part) > 0 {
				first = time.Since(start)
			}
			if count += len(part); len(part) > sweepPart {
				t.Errorf("step() = %d names, want at most %d", len(part), sweepPart)
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var s sweep
		if got, _ := run(&s, time.Minute); got != 0 {
			t.Errorf("an idle sweep has %d names, want none", got)
		}
		s.expect(10, 100)
		if got, at := run(&s, 400*time.Millisecond); got != 100 || at != 100*sweepRest {
			t.Errorf("a change that was not found: %d names after %v, want 100 after %v", got, at, 100*sweepRest)
		}
		s.expect(11, 100)
		if got, at := run(&s, time.Second); got != 100 || at < 100*time.Millisecond {
			t.Errorf("another one soon after: %d names after %v, want 100 and not at once", got, at)
		}
		s.expect(12, 100)
		names.known["50"].indexes = []uint64{3, 12}
		if got, at := run(&s, 2*sweepLate); got != 100 || at != sweepLate {
			t.Errorf("a change that was found: %d names after %v, want 100 after %v", got, at, sweepLate)
		}
		if got, _ := run(&s, time.Hour); got != 0 {
			t.Errorf("after that: %d names, want none", got)
		}
	})
}

// TestSweepGoesOn: what changes while a sweep is under way is looked for by
// another.
func TestSweepGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := catalog{known: make(map[string]*known)}
		for i := range 2 * sweepPart {
			names.known[fmt.Sprint(i)] = new(known)
		}
		var s sweep
		s.expect(10, len(names.known))
		time.Sleep(s.after())
		s.step(&names)
		s.expect(11, len(names.known))
		time.Sleep(s.after())
		s.step(&names)
		if s.upTo != 10 || s.due.IsZero() {
			t.Errorf("a sweep for %d ended, want one for 10, and another to come", s.upTo)
		}
		time.Sleep(s.after())
		if got := s.step(&names); len(got) != sweepPart {
			t.Errorf("step() = %d names, want %d", len(got), sweepPart)
		}
	})
}
