package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// memberWait is how long a member of a Multi may keep the others waiting.
const memberWait = 5 * time.Second

// errSlow is the failure of a member that does not answer in time.
var errSlow = fmt.Errorf("%w: no answer within %v", ErrUnavailable, memberWait)

// A Multi reads several registries as one. What an earlier one says takes
// precedence: a node that it has is not changed by a later one that announces
// the same id under the same service name.
//
// Services are ordered by registry, then as each orders them. A service of a
// later registry follows as a Service of its own.
//
// A registry that fails takes nothing from the others. A watcher keeps what it
// said last, and follows it again by itself; Next returns [ErrUnavailable] only
// when all have failed. Get and List leave out what does not answer within 5 s,
// and fail when none answers.
type Multi struct {
	members []Member
	log     *slog.Logger

	mu     sync.Mutex
	states []MemberState
}

var (
	_ Reader   = (*Multi)(nil)
	_ Reporter = (*Multi)(nil)
)

// A Member is one of the registries that a Multi reads.
type Member struct {
	// Name is for reports and logs.
	Name string
	// Reader is the registry.
	Reader Reader
	// Exclusive keeps the names of its services to itself: what a later member
	// announces under one of them is left out.
	Exclusive bool
}

// A MemberState is how a watcher of a Multi last found a member.
type MemberState struct {
	// Name is that of the Member.
	Name string
	// Ready says that there is contact.
	Ready bool
	// Err says why there is none; nil before the first attempt has ended.
	Err error
	// Since is when Ready last changed.
	Since time.Time
}

// MultiOptions adjust a Multi. A nil *MultiOptions means all defaults.
type MultiOptions struct {
	// Logger is told when contact with a registry is lost, and found again.
	// Default: none.
	Logger *slog.Logger
}

// NewMulti returns a Multi of the given members, in order of precedence.
func NewMulti(members []Member, opts *MultiOptions) *Multi {
	m := &Multi{members: slices.Clone(members), log: slog.New(slog.DiscardHandler)}
	if opts != nil && opts.Logger != nil {
		m.log = opts.Logger
	}
	now := time.Now()
	for _, member := range members {
		m.states = append(m.states, MemberState{Name: member.Name, Since: now})
	}
	return m
}

// Members returns how each member was last found, in order.
func (m *Multi) Members() []MemberState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.states)
}

// Get implements [Reader]. A service that no answer holds is ErrNotFound only
// when all have answered.
func (m *Multi) Get(ctx context.Context, name string) ([]*Service, error) {
	services, failures, err := m.ask(ctx, func(ctx context.Context, r Reader) ([]*Service, error) {
		found, err := r.Get(ctx, name)
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		return found, err
	})
	switch {
	case len(services) > 0:
		return services, nil
	case failures > 0:
		return nil, err
	}
	return nil, ErrNotFound
}

// List implements [Reader].
func (m *Multi) List(ctx context.Context) ([]*Service, error) {
	services, failures, err := m.ask(ctx, func(ctx context.Context, r Reader) ([]*Service, error) { return r.List(ctx) })
	if failures > 0 && failures == len(m.members) {
		return nil, err
	}
	return services, nil
}

// ask puts a question to all members at once. It returns the answers merged,
// how many failed to answer, and the first failure.
func (m *Multi) ask(ctx context.Context, question func(context.Context, Reader) ([]*Service, error)) (services []*Service, failures int, err error) {
	limited, cancel := context.WithTimeout(ctx, memberWait)
	defer cancel()
	answers := make([][]*Service, len(m.members))
	errs := make([]error, len(m.members))
	var wg sync.WaitGroup
	for i, member := range m.members {
		wg.Go(func() { answers[i], errs[i] = question(limited, member.Reader) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, len(m.members), ctx.Err()
	}
	merged := newMerge(m.members)
	for i := range m.members {
		if errs[i] == nil {
			merged.set(i, answers[i])
			continue
		}
		failures++
		if err == nil {
			err = m.unavailable(i, errs[i])
		}
	}
	return merged.services(), failures, err
}

// unavailable returns the error of member i as the Multi's own.
func (m *Multi) unavailable(i int, err error) error {
	if errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("%s: %w", m.members[i].Name, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, m.members[i].Name, err)
}

// report notes that there is contact with member i, or why there is none, and
// logs it when that is new.
func (m *Multi) report(i int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &m.states[i]
	known := s.Ready || s.Err != nil
	changed := !known || s.Ready != (err == nil)
	s.Ready, s.Err = err == nil, err
	if !changed {
		return
	}
	s.Since = time.Now()
	switch {
	case err == nil:
		m.log.Info("registry found", "registry", s.Name)
	case known:
		m.log.Warn("registry lost; what it said last is kept", "registry", s.Name, "error", err)
	default:
		m.log.Warn("registry does not answer; it is asked again", "registry", s.Name, "error", err)
	}
}
