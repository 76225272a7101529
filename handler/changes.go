package handler

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
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

// errAnswered is returned by stream.open when the client has its answer.
var errAnswered = errors.New("handler: answered")

// a stream takes events to one client.
type stream interface {
	// open begins the answer. The context it returns ends when the client goes
	// away.
	open(w http.ResponseWriter, r *http.Request) (context.Context, error)
	// send sends an event, or a sign of life for nil. It takes no longer than
	// limit.
	send(ctx context.Context, event []byte, limit time.Duration) error
	// close ends the stream.
	close()
}

// streamFor returns the stream that a request asks for, or nil.
func streamFor(r *http.Request) stream {
	if r.Method != http.MethodGet {
		return nil
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return new(webSocket)
	}
	for _, list := range r.Header.Values("Accept") {
		for kind := range strings.SplitSeq(list, ",") {
			kind, _, _ = strings.Cut(kind, ";")
			if strings.EqualFold(strings.TrimSpace(kind), "text/event-stream") {
				return new(eventStream)
			}
		}
	}
	return nil
}

// stream sends changes to the client, of one service if name is not empty,
// until either of the two goes away.
func (h *registryHandler) stream(w http.ResponseWriter, r *http.Request, s stream, name string) error {
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
	ctx, err := s.open(w, r)
	if errors.Is(err, errAnswered) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if h.opts.Done != nil {
		go func() {
			select {
			case <-h.opts.Done:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	err = h.follow(ctx, watcher, s, name)
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

// follow sends the changes that a watcher sees.
func (h *registryHandler) follow(ctx context.Context, w registry.Watcher, s stream, name string) error {
	var state []*registry.Service
	for {
		next, err := h.next(ctx, w)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, registry.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
			if err := s.send(ctx, nil, h.opts.Heartbeat); err != nil {
				return err
			}
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
			if err := s.send(ctx, event, h.opts.Heartbeat); err != nil {
				return err
			}
		}
		state = next
	}
}

// next waits for the next state, no longer than for a heartbeat.
func (h *registryHandler) next(ctx context.Context, w registry.Watcher) ([]*registry.Service, error) {
	ctx, cancel := context.WithTimeout(ctx, h.opts.Heartbeat)
	defer cancel()
	return w.Next(ctx)
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

// eventStream is a stream of server-sent events.
type eventStream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s *eventStream) open(w http.ResponseWriter, r *http.Request) (context.Context, error) {
	s.w, s.rc = w, http.NewResponseController(w)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return r.Context(), s.rc.Flush()
}

func (s *eventStream) send(_ context.Context, event []byte, limit time.Duration) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(limit)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	text := ":\n\n"
	if event != nil {
		text = "data: " + string(event) + "\n\n"
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.rc.Flush()
}

func (*eventStream) close() {}

// webSocket is a stream of text messages. A message from the client ends it.
type webSocket struct {
	conn  *websocket.Conn
	done  chan struct{} // closed when nothing more is read from the client
	spoke bool          // valid then
}

func (s *webSocket) open(w http.ResponseWriter, r *http.Request) (context.Context, error) {
	if !sameOrigin(r) {
		return nil, goapi.NewError(http.StatusForbidden, "a WebSocket from another origin is not served", nil)
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return nil, errAnswered
	}
	ctx, cancel := context.WithCancel(r.Context())
	s.conn, s.done = conn, make(chan struct{})
	go func() { // ends with the connection, which close closes
		defer cancel()
		defer close(s.done)
		_, _, err := conn.Reader(ctx) // Conn.CloseRead would hang for 15 s when the client speaks
		s.spoke = err == nil
	}()
	return ctx, nil
}

func (s *webSocket) send(ctx context.Context, event []byte, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if event == nil {
		return s.conn.Ping(ctx)
	}
	return s.conn.Write(ctx, websocket.MessageText, event)
}

func (s *webSocket) close() {
	code := websocket.StatusGoingAway
	select {
	case <-s.done:
		if s.spoke {
			code = websocket.StatusPolicyViolation
		}
	default:
	}
	_ = s.conn.Close(code, "") // it may be closed already
	<-s.done
}

// sameOrigin says that a request comes from a page of the host that it is for,
// or from no page.
func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}
