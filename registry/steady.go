package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"
)

// A Steady reads a registry, its source, such that those who watch it are never
// wrong for long, whatever becomes of the source:
//
//   - While there is no contact, the last state stands.
//   - When contact is back and a service has less than half of its nodes, the
//     others are kept for a grace time: what announces itself to a registry that
//     came back empty does so again. Later too, services are kept for that time
//     when most of all go within it.
//   - When a service loses most of its nodes within a short time, they are kept
//     for that time.
//   - The state is kept in a file, the snapshot. It is what a watcher tells when
//     the source does not answer at the start.
//
// All else takes effect at once, and so does what becomes of one or two nodes,
// or services, while there is contact.
//
// Get and List ask the source. A watcher runs nothing of its own: its Next asks
// a watcher of the source. It orders services by name. So, of a [Multi], each
// member is to be a Steady: the order of registries is kept, and each of them
// has a snapshot of its own.
type Steady struct {
	source Reader
	opts   SteadyOptions

	reading sync.Once         // of the snapshot
	notes   map[string]string // that the snapshot had
	known   map[string]bool   // the names of its services

	mu      sync.Mutex
	leader  *steadyWatcher // whose state this is: the one that is open for longest
	latest  []*Service     // the state, or that of the snapshot
	seen    bool           // the state was told
	live    bool           // the source has said something
	status  SteadyStatus
	changed chan struct{} // holds one token: there is something to write
}

var (
	_ Reader   = (*Steady)(nil)
	_ Reporter = (*Steady)(nil)
)

// SteadyOptions adjust a Steady. A nil *SteadyOptions means all defaults.
type SteadyOptions struct {
	// Name is that of the source, in logs and in the snapshot: one that was made
	// of another source is not used. Default: none.
	Name string
	// Path is the file of the snapshot, which nobody else writes. Its directory
	// is made if there is none. Default: none, and no snapshot.
	Path string
	// MaxAge is how old a snapshot may be. One that is older is not used. Default:
	// any age will do: nodes that are gone are soon known to be, and it is better
	// than nothing. The log and Status say how old it is.
	MaxAge time.Duration
	// Wait is how long the source has to say something before the snapshot is
	// told. Default: 2 s.
	Wait time.Duration
	// Grace is how long that which is missing after a loss of contact has to be
	// announced again. Default: 30 s.
	Grace time.Duration
	// Hold is how long the nodes are kept of a service that loses most of them,
	// and within what time that is. Default: 3 s.
	Hold time.Duration
	// PanicThreshold is the share of the nodes of a service, or of all services,
	// above which a loss is one of most. From 1 on none is. Default: 0.5.
	PanicThreshold float64
	// Notes returns what else the snapshot is to keep, for those who ask Note
	// for it after a restart. Run calls it. Default: nothing.
	Notes func() map[string]string
	// Logger is told when nodes are held back and let go, when the snapshot is
	// used, and why it cannot be. Default: none.
	Logger *slog.Logger
}

func (o *SteadyOptions) orDefault() SteadyOptions {
	var d SteadyOptions
	if o != nil {
		d = *o
	}
	if d.Wait == 0 {
		d.Wait = 2 * time.Second
	}
	if d.Grace == 0 {
		d.Grace = 30 * time.Second
	}
	if d.Hold == 0 {
		d.Hold = 3 * time.Second
	}
	if d.PanicThreshold == 0 {
		d.PanicThreshold = 0.5
	}
	if d.Notes == nil {
		d.Notes = func() map[string]string { return nil }
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Name != "" {
		d.Logger = d.Logger.With(slog.String("registry", d.Name))
	}
	return d
}

// A SteadyStatus is how a Steady and its source get on.
type SteadyStatus struct {
	// Contact says that the source is followed.
	Contact bool
	// Snapshot says that the state is that of the snapshot: the source has said
	// nothing yet.
	Snapshot bool
	// Heard is when the state was last known to be that of the source: now,
	// while there is contact. It is zero if there never was any.
	Heard time.Time
	// Lost is since when there is no contact; if there never was any, since
	// somebody first watched. It is zero while there is contact, and before.
	Lost time.Time
	// Err is why there is no contact; nil while nothing is known.
	Err error
	// Held is what is held back, ordered by service. It is shared: read-only.
	Held []Held
	// SaveErr is why the snapshot could not be written; nil when it could.
	SaveErr error
}

// Held is nodes that are told although the source does not have them.
type Held struct {
	// Service is the name of the service.
	Service string
	// Nodes are the ids of the nodes.
	Nodes []string
	// Until is when the last of them goes. Without contact none does.
	Until time.Time
	// Reason says why they are held back.
	Reason string
}

// NewSteady returns a Steady of a source. The snapshot is read by the first
// watcher, and written while Run runs.
func NewSteady(source Reader, opts *SteadyOptions) *Steady {
	return &Steady{source: source, opts: opts.orDefault(), changed: make(chan struct{}, 1)}
}

// Name returns that of the source, as the options have it.
func (s *Steady) Name() string { return s.opts.Name }

// Get implements [Reader]. It asks the source.
func (s *Steady) Get(ctx context.Context, name string) ([]*Service, error) {
	return s.source.Get(ctx, name)
}

// List implements [Reader]. It asks the source.
func (s *Steady) List(ctx context.Context) ([]*Service, error) { return s.source.List(ctx) }

// LeftOut implements [Reporter]. It asks the source, if that is one.
func (s *Steady) LeftOut() []Omission {
	if r, ok := s.source.(Reporter); ok {
		return r.LeftOut()
	}
	return nil
}

// Watch implements [Reader]. It asks nobody: the source may be away. What
// watchers before have told is known to the new one.
func (s *Steady) Watch(ctx context.Context) (Watcher, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.read()
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &steadyWatcher{steady: s, keeper: newKeeper(s.opts, s.latest, s.seen)}
	w.life, w.end = context.WithCancel(context.Background())
	if s.leader == nil {
		s.leader = w
	}
	if !s.status.Contact && s.status.Lost.IsZero() {
		s.status.Lost = time.Now()
	}
	return w, nil
}

// Status returns how it gets on with the source, as far as the watcher knows
// that is open for longest.
func (s *Steady) Status() SteadyStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.status
	if status.Contact {
		status.Heard = time.Now()
	}
	return status
}

// Note returns what the snapshot had noted under a key when it was read. It is
// empty for a key that it had not.
func (s *Steady) Note(key string) string {
	s.read()
	return s.notes[key]
}

// Known says whether the snapshot had a service of that name when it was read.
func (s *Steady) Known(service string) bool {
	s.read()
	return s.known[service]
}

// read reads the snapshot, once.
func (s *Steady) read() {
	s.reading.Do(func() {
		if s.opts.Path == "" {
			return
		}
		snap, err := readSnapshot(s.opts.Path, s.opts.Name)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			s.opts.Logger.Warn("snapshot ignored", slog.String("path", s.opts.Path), slog.Any("error", err))
			return
		}
		if age := time.Since(snap.heard); s.opts.MaxAge > 0 && age > s.opts.MaxAge {
			s.opts.Logger.Warn("snapshot ignored", slog.String("path", s.opts.Path),
				slog.String("error", fmt.Sprintf("it is %v old, more than %v", age.Round(time.Second), s.opts.MaxAge)))
			return
		}
		s.notes, s.known = snap.notes, make(map[string]bool)
		for _, service := range snap.services {
			s.known[service.Name] = true
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.latest = snap.services
		s.status.Heard, s.status.Snapshot = snap.heard, true
	})
}

// follow takes over what a watcher knows, if it is the one that counts.
func (s *Steady) follow(w *steadyWatcher, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader == nil {
		s.leader = w
	}
	if s.leader != w {
		return
	}
	s.latest, s.seen = w.keeper.state, w.keeper.seen
	s.setContact(w.contact)
	s.status.Err, s.status.Held = err, w.keeper.held
	if w.contact {
		s.live, s.status.Snapshot = true, false
	}
	if w.contact && w.fresh {
		s.wake()
	}
}

// leave is the end of a watcher.
func (s *Steady) leave(w *steadyWatcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader == w {
		s.leader = nil
		s.setContact(false)
	}
}

func (s *Steady) setContact(contact bool) {
	switch {
	case contact:
		s.status.Lost = time.Time{}
	case s.status.Contact:
		now := time.Now()
		s.status.Heard, s.status.Lost = now, now
	}
	s.status.Contact = contact
}

// wake has Run write the snapshot.
func (s *Steady) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

const (
	// saveWait is the least time between writing the snapshot twice. It is
	// longer where writing takes long, so that it is not written for more than
	// one part in saveShare of the time. While it is, that takes a core for one
	// part in restShare only: requests go first.
	saveWait  = time.Second
	saveShare = 10
	restShare = 10
	// maxRest bounds a rest, and so how late the end of ctx is seen.
	maxRest = 50 * time.Millisecond
	// saveRetry is how long a failure to write lasts at least.
	saveRetry = 30 * time.Second
	// saveAnyway is after what time the snapshot is written although nothing
	// changed: it tells until when it was right.
	saveAnyway = time.Hour
)

// Run writes the snapshot: when the state changed, and once more at the end,
// which is when ctx is done. It returns ctx.Err().
func (s *Steady) Run(ctx context.Context) error {
	if s.opts.Path == "" {
		<-ctx.Done()
		return ctx.Err()
	}
	anyway := time.NewTicker(saveAnyway)
	defer anyway.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-s.changed:
		case <-anyway.C:
		}
		last := ctx.Err()
		wait := s.save(ctx)
		if last != nil {
			return last
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// save writes the snapshot, and returns how long to wait until it is written
// again.
func (s *Steady) save(ctx context.Context) time.Duration {
	status := s.Status()
	s.mu.Lock()
	snap := snapshot{registry: s.opts.Name, heard: status.Heard, services: s.latest}
	live := s.live
	s.mu.Unlock()
	if !live { // what is on disk is all that is known
		return saveWait
	}
	snap.notes = s.opts.Notes()
	begun := time.Now()
	err := snap.write(s.opts.Path, rests(ctx))
	s.mu.Lock()
	s.status.SaveErr = err
	s.mu.Unlock()
	if err == nil {
		return max(saveWait, saveShare*time.Since(begun))
	}
	if status.SaveErr == nil {
		s.opts.Logger.Warn("snapshot not written", slog.String("path", s.opts.Path), slog.Any("error", err))
	}
	s.wake()
	return saveRetry
}

// rests returns what whoever writes a snapshot calls in between: it waits for
// restShare times as long as was worked since, unless ctx is done.
func rests(ctx context.Context) func() {
	began := time.Now()
	return func() {
		if ctx.Err() != nil {
			return
		}
		timer := time.NewTimer(min(restShare*time.Since(began), maxRest))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		began = time.Now()
	}
}
