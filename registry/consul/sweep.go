package consul

import "time"

const (
	// sweepStart is how long the other ways of finding a change have at most.
	sweepStart = 250 * time.Millisecond
	// sweepPace is the time from one part of a sweep to the next, and sweepPart
	// the services in it.
	sweepPace = 50 * time.Millisecond
	sweepPart = 32
	// sweepRest is the rest after a sweep for each service that it reads.
	sweepRest = 2 * time.Millisecond
	// sweepLate is the time after which there is a sweep though each change was
	// found: of two at once, one may hide another.
	sweepLate = time.Minute
)

// A sweep reads all services, part by part, when something was registered anew
// and no other way has found what. The zero value is idle.
type sweep struct {
	want  uint64    // the index of what is registered
	due   time.Time // of the next part; zero for none
	late  time.Time // until then only what was not found is swept
	left  []string
	upTo  uint64    // what was wanted when the last one began
	swept time.Time // the end of the last
}

// expect notes that what is registered has changed, among so many services.
func (s *sweep) expect(index uint64, services int) {
	s.want = index
	now := time.Now()
	if s.late.IsZero() {
		s.late = now.Add(sweepLate)
	}
	if len(s.left) == 0 {
		rest := time.Duration(services) * sweepRest
		s.due = latest(now.Add(min(rest, sweepStart)), s.swept.Add(rest))
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
func (s *sweep) step(c *catalog) []string {
	now := time.Now()
	if s.due.IsZero() || now.Before(s.due) {
		return nil
	}
	if len(s.left) == 0 {
		if now.Before(s.late) && (s.want == s.upTo || c.has(s.want)) {
			s.due = s.late
			return nil
		}
		s.late, s.upTo = time.Time{}, s.want
		for name := range c.known {
			s.left = append(s.left, name)
		}
	}
	part := s.left[:min(len(s.left), sweepPart)]
	s.left = s.left[len(part):]
	s.due = now.Add(sweepPace)
	if len(s.left) == 0 {
		s.left, s.due, s.swept = nil, time.Time{}, now
		if s.want != s.upTo { // there was another change meanwhile
			s.expect(s.want, len(c.known))
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
