package consul

import "time"

const (
	// sweepStart is how long the other ways of finding a change have.
	sweepStart = 250 * time.Millisecond
	// sweepPace is the time from one part of a sweep to the next, and sweepPart
	// the services in it.
	sweepPace = 50 * time.Millisecond
	sweepPart = 32
	// sweepRest is the least time between two sweeps, and sweepLate that after
	// which there is one though each change was found: of two at once, one may
	// hide another.
	sweepRest = 5 * time.Second
	sweepLate = time.Minute
)

// A sweep reads all services, part by part, when something was registered anew
// and no other way has found what. The zero value is idle.
type sweep struct {
	seen  uint64    // the highest index of what was read
	want  uint64    // the index of what is registered
	due   time.Time // of the next part; zero for none
	late  time.Time // until then only what was not found is swept
	left  []string
	upTo  uint64    // what was wanted when the sweep that goes on began
	swept time.Time // the end of the last
}

// expect notes that what is registered has changed.
func (s *sweep) expect(index uint64) {
	s.want = index
	now := time.Now()
	if s.late.IsZero() {
		s.late = now.Add(sweepLate)
	}
	if len(s.left) == 0 {
		s.due = latest(now.Add(sweepStart), s.swept.Add(sweepRest))
	}
}

// after returns how long it is to the next step.
func (s *sweep) after() time.Duration {
	if s.due.IsZero() {
		return time.Hour
	}
	return time.Until(s.due)
}

// step returns the names that are to be read now.
func (s *sweep) step(known map[string]*known) []string {
	now := time.Now()
	if s.due.IsZero() || now.Before(s.due) {
		return nil
	}
	if len(s.left) == 0 {
		if s.want <= s.seen && now.Before(s.late) {
			s.due = s.late
			return nil
		}
		s.late, s.upTo = time.Time{}, s.want
		for name := range known {
			s.left = append(s.left, name)
		}
	}
	part := s.left[:min(len(s.left), sweepPart)]
	s.left = s.left[len(part):]
	s.due = now.Add(sweepPace)
	if len(s.left) == 0 {
		s.left, s.due, s.swept = nil, time.Time{}, now
		s.seen = max(s.seen, s.upTo) // what is not found now is not for us to see
		if s.want > s.upTo {
			s.expect(s.want)
		}
	}
	return part
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
