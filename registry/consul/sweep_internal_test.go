package consul

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestSweep(t *testing.T) {
	names := make(map[string]*known)
	for i := range 100 {
		names[fmt.Sprint(i)] = new(known)
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
			part := s.step(names)
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
		s.expect(10)
		if got, at := run(&s, time.Second); got != 100 || at != sweepStart {
			t.Errorf("a change that was not found: %d names after %v, want 100 after %v", got, at, sweepStart)
		}
		s.expect(11)
		if got, at := run(&s, sweepRest); got != 100 || at < sweepRest/2 {
			t.Errorf("another one soon after: %d names after %v, want 100 and not at once", got, at)
		}
		s.expect(12)
		s.seen = 12
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
		names := make(map[string]*known)
		for i := range 2 * sweepPart {
			names[fmt.Sprint(i)] = new(known)
		}
		var s sweep
		s.expect(10)
		time.Sleep(s.after())
		s.step(names)
		s.expect(11)
		time.Sleep(s.after())
		s.step(names)
		if s.seen != 10 || s.due.IsZero() {
			t.Errorf("seen = %d, want 10 and another sweep", s.seen)
		}
		time.Sleep(s.after())
		if got := s.step(names); len(got) != sweepPart {
			t.Errorf("step() = %d names, want %d", len(got), sweepPart)
		}
	})
}
