package handler

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/coder/websocket"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
)

// A change is an event of a registry as go-micro's watchers have it.
type change struct {
	Action  string
	Service *registry.Service
}

// changesOf returns what happened, as events. The nodes that went away come
// first, for a reader that adds what an update holds to what it knows.
func changesOf(diff []registry.Change) []change {
	var list []change
	for _, d := range diff {
		for _, s := range d.Old {
			if gone := missing(s, d.New); gone != nil {
				list = append(list, change{"delete", gone})
			}
		}
		for _, s := range d.New {
			switch {
			case !slices.ContainsFunc(d.Old, func(o *registry.Service) bool { return o.Version == s.Version }):
				list = append(list, change{"create", s})
			case !slices.Contains(d.Old, s):
				list = append(list, change{"update", s})
			}
		}
	}
	return list
}

// missing returns s with those of its nodes that no service in list has under
// its version, or nil if there are none.
func missing(s *registry.Service, list []*registry.Service) *registry.Service {
	left := make(map[string]bool)
	for _, other := range list {
		if other.Version == s.Version {
			for _, n := range other.Nodes {
				left[n.ID] = true
			}
		}
	}
	var gone []*registry.Node
	for _, n := range s.Nodes {
		if !left[n.ID] {
			gone = append(gone, n)
		}
	}
	if gone == nil {
		return nil
	}
	without := *s
	without.Nodes = gone
	return &without
}

// A follower is a client that follows changes.
type follower interface {
	sender
	// begin begins the answer, or returns how it is refused.
	begin() error
	// gone is closed when the client has gone away, or has said something. Nil is
	// that the request's context tells.
	gone() <-chan struct{}
	// end ends an answer that has begun.
	end()
}

// followerFor returns the client of a request that asks for changes, or nil.
func (h *registryHandler) followerFor(w http.ResponseWriter, r *http.Request) follower {
	if r.Method != http.MethodGet {
		return nil
	}
	s := &session{opts: &StreamOptions{Ping: h.opts.Heartbeat, Take: h.opts.Heartbeat}, w: w, r: r}
	if asksWebSocket(r) {
		return &socketFollower{socket: socket{session: s, kind: websocket.MessageText, limit: h.opts.MaxBody}}
	}
	if streamType(r.Header["Accept"]) == typeEvents {
		return &eventFollower{events{session: s, kind: typeEvents, rc: http.NewResponseController(w)}}
	}
	return nil
}

// stream sends changes to the client, of one service if name is not empty,
// until either of the two goes away.
func (h *registryHandler) stream(r *http.Request, f follower, name string) error {
	if h.streams.Add(1) > int64(h.opts.Streams) {
		h.streams.Add(-1)
		return unavailable("too many clients follow the registry", nil)
	}
	defer h.streams.Add(-1)
	watcher, err := h.watch(r.Context())
	if err != nil {
		return registryError(err)
	}
	defer watcher.Close()
	if err := f.begin(); err != nil {
		return err
	}
	defer f.end()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		defer cancel()
		select {
		case <-h.opts.Done:
		case <-f.gone():
		case <-ctx.Done():
		}
	}()
	err = h.follow(ctx, watcher, f, name)
	if ctx.Err() != nil {
		return nil // the client went away, or the gateway does
	}
	return err
}

func (h *registryHandler) watch(ctx context.Context) (registry.Watcher, error) {
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	return h.reg.Watch(ctx)
}

// follow sends the changes that a watcher sees, and signs of life.
func (h *registryHandler) follow(ctx context.Context, w registry.Watcher, f follower, name string) error {
	var state []*registry.Service
	out := &beating{sender: f, every: h.opts.Heartbeat, due: time.Now().Add(h.opts.Heartbeat)}
	for {
		if err := out.beat(); err != nil {
			return err
		}
		next, err := next(ctx, w, out.due)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, registry.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
			continue
		case err != nil:
			return err
		}
		next = named(next, name)
		for _, c := range changesOf(registry.Diff(state, next)) {
			event, err := json.Marshal(c)
			if err != nil {
				return err
			}
			if err := out.send(event); err != nil {
				return err
			}
		}
		state = next
	}
}

// next waits for the next state, no longer than until a time.
func next(ctx context.Context, w registry.Watcher, until time.Time) ([]*registry.Service, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return w.Next(ctx)
}

// beating is a sender that also sends signs of life, among the messages too:
// these alone are what a client over WebSocket answers.
type beating struct {
	sender

	every time.Duration
	due   time.Time
}

// send sends a message.
func (b *beating) send(msg []byte) error {
	if err := b.sender.send(msg); err != nil {
		return err
	}
	return b.beat()
}

// beat sends a sign of life if one is due.
func (b *beating) beat() error {
	now := time.Now()
	if now.Before(b.due) {
		return nil
	}
	b.due = now.Add(b.every)
	return b.ping()
}

// named returns the services of a name; of every name for an empty one.
func named(services []*registry.Service, name string) []*registry.Service {
	if name == "" {
		return services
	}
	var list []*registry.Service
	for _, s := range services {
		if s.Name == name {
			list = append(list, s)
		}
	}
	return list
}

// eventFollower gets server-sent events.
type eventFollower struct{ events }

// gone implements follower.
func (*eventFollower) gone() <-chan struct{} { return nil }

// end implements follower.
func (*eventFollower) end() {}

// socketFollower gets text messages. One of its own ends the stream.
type socketFollower struct {
	socket

	done  chan struct{} // closed when nothing more is read from the client
	spoke bool          // valid then
}

// begin implements follower.
func (s *socketFollower) begin() error {
	if err := checkHandshake(s.r); err != nil {
		return err
	}
	if !sameOrigin().allow(s.r) {
		return goapi.NewError(http.StatusForbidden, "a WebSocket from another origin is not served", nil)
	}
	if err := s.socket.begin(); err != nil {
		return err
	}
	s.done = make(chan struct{})
	go func() { // ends with the connection, which end closes
		defer close(s.done)
		_, _, err := s.conn.Reader(context.Background()) // bounded by the connection's own deadlines
		s.spoke = err == nil
	}()
	return nil
}

// gone implements follower.
func (s *socketFollower) gone() <-chan struct{} { return s.done }

// end implements follower.
func (s *socketFollower) end() {
	code := websocket.StatusGoingAway
	select {
	case <-s.done:
		if s.spoke {
			code = websocket.StatusPolicyViolation
		}
	default:
	}
	s.frames.linger()
	_ = s.conn.Close(code, "") // it may be closed already
	<-s.done
}
