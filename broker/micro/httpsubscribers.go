package micro

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/registry"
)

const (
	// broadcast is the version of the registry's services whose nodes have no
	// group. Others are groups.
	broadcast = "ff.http.broadcast"

	// putTimeout is how long a publisher waits while a subscription is full.
	putTimeout = 3 * time.Second
)

// names returns what versions of go-micro call the service in the registry
// whose nodes subscribe to a topic, oldest first.
func names(topic string) []string {
	return []string{"topic:" + topic, topic, "go.micro.http.broker", newest}
}

// newest is the name since v2.6, whose nodes take messages at the root.
const newest = "micro.http.broker"

// A target is a subscriber.
type target struct {
	id, address, path string
	secure            bool
}

func (t target) url() string {
	u := url.URL{Scheme: "http", Host: t.address, Path: t.path, RawQuery: url.Values{"id": {t.id}}.Encode()}
	if t.secure {
		u.Scheme = "https"
	}
	return u.String()
}

// find returns the subscribers of a topic, by group.
func (h *HTTP) find(ctx context.Context, topic string) (map[string][]target, error) {
	found := make(map[string][]target)
	seen := make(map[string]bool) // one may announce itself to several versions
	for _, name := range names(topic) {
		services, err := h.reg.Get(ctx, name)
		if errors.Is(err, registry.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, unavailable(err)
		}
		for _, s := range services {
			for _, n := range s.Nodes {
				if !subscribes(name, topic, n) || seen[n.ID] {
					continue
				}
				seen[n.ID] = true
				found[s.Version] = append(found[s.Version], newTarget(name, n))
			}
		}
	}
	return found, nil
}

// subscribes says whether a node of a service subscribes to a topic.
func subscribes(name, topic string, n *registry.Node) bool {
	if name == "topic:"+topic {
		return true // those versions say no more
	}
	return n.Metadata["broker"] == "http" && n.Metadata["topic"] == topic
}

func newTarget(name string, n *registry.Node) target {
	t := target{id: n.ID, address: n.Address, path: "/_sub", secure: n.Metadata["secure"] == "true"}
	if name == newest {
		t.path = "/"
	}
	return t
}

// unavailable says that the registry is away, unless the caller gave up.
func unavailable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
}

// An httpSubscription is announced in the registry for as long as it is open.
type httpSubscription struct {
	*broker.Feed

	broker *HTTP
	topic  string
	group  string
	id     string
	close  func()
}

// Subscribe implements [broker.Subscriber].
func (h *HTTP) Subscribe(ctx context.Context, topic string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
	if err := broker.CheckTopic(topic); err != nil {
		return nil, err
	}
	o, err := opts.For(h.Capabilities())
	if err != nil {
		return nil, err
	}
	if o.Group == broadcast {
		return nil, fmt.Errorf("%w: group %q stands for none in go-micro", broker.ErrOptions, broadcast)
	}
	if err := h.usable(ctx); err != nil {
		return nil, err
	}
	s := &httpSubscription{Feed: broker.NewFeed(o), broker: h, topic: topic, group: o.Group, id: topic + "-" + rand.Text()}
	s.close = sync.OnceFunc(s.leave)
	if err := h.add(s); err != nil {
		return nil, err
	}
	if err := s.announce(ctx); err != nil {
		_ = s.Close() // the error above says more
		return nil, unavailable(err)
	}
	return s, nil
}

func (h *HTTP) add(s *httpSubscription) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		return broker.ErrClosed
	}
	h.subs[s.id] = s
	return nil
}

// services returns the announcement, once for each name that publishers look
// for.
func (s *httpSubscription) services() []*registry.Service {
	version := s.group
	if version == "" {
		version = broadcast
	}
	var list []*registry.Service
	for _, name := range names(s.topic) {
		list = append(list, &registry.Service{Name: name, Version: version, Nodes: []*registry.Node{{
			ID: s.id, Address: s.broker.advertise,
			Metadata: map[string]string{"broker": "http", "topic": s.topic, "secure": "false"},
		}}})
	}
	return list
}

// announce announces the subscription, or renews it: not under a name that is
// a service's, whose clients would call the subscriber.
func (s *httpSubscription) announce(ctx context.Context) error {
	reg := s.broker.reg
	for _, service := range s.services() {
		taken, err := s.taken(ctx, service.Name)
		switch {
		case err != nil:
		case taken:
			err = reg.Deregister(ctx, service) // it may have come after us
		default:
			err = reg.Register(ctx, service, s.broker.opts.TTL)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// taken says whether a name that publishers look for is that of a service, too:
// for some versions it is the topic alone.
func (s *httpSubscription) taken(ctx context.Context, name string) (bool, error) {
	if name != s.topic {
		return false, nil
	}
	services, err := s.broker.reg.Get(ctx, name)
	if errors.Is(err, registry.ErrNotFound) {
		return false, nil
	}
	for _, service := range services {
		for _, n := range service.Nodes {
			if !subscribes(name, s.topic, n) {
				return true, err
			}
		}
	}
	return false, err
}

// Close implements [broker.Subscription].
func (s *httpSubscription) Close() error {
	s.close()
	return s.Feed.Close()
}

func (s *httpSubscription) leave() {
	h := s.broker
	h.mu.Lock()
	delete(h.subs, s.id)
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), postTimeout)
	defer cancel()
	for _, service := range s.services() {
		if err := h.reg.Deregister(ctx, service); err != nil {
			h.opts.Logger.Warn("subscription is not withdrawn; it expires", slog.String("topic", s.topic), slog.Any("error", err))
			return
		}
	}
}

// renew renews what is announced, until the broker is closed.
func (h *HTTP) renew() {
	ticker := time.NewTicker(h.opts.TTL / 3)
	defer ticker.Stop()
	for {
		select {
		case <-h.life.Done():
			return
		case <-ticker.C:
		}
		h.mu.Lock()
		subs := make([]*httpSubscription, 0, len(h.subs))
		for _, s := range h.subs {
			subs = append(subs, s)
		}
		h.mu.Unlock()
		for _, s := range subs {
			h.renewOne(s)
		}
	}
}

// renewOne renews one announcement, and tells its reader if that fails.
func (h *HTTP) renewOne(s *httpSubscription) {
	ctx, cancel := context.WithTimeout(h.life, h.opts.TTL/3)
	defer cancel()
	if err := s.announce(ctx); err != nil {
		h.opts.Logger.Warn("subscription is not renewed", slog.String("topic", s.topic), slog.Any("error", err))
		s.Lose()
		return
	}
	s.Find()
	select {
	case <-s.Done(): // it was closed meanwhile, and is not to stay
		for _, service := range s.services() {
			_ = h.reg.Deregister(ctx, service) // else it expires
		}
	default:
	}
}

// serve takes a message from a publisher of any version. Statuses and bodies of
// errors are as publishers know them.
func (h *HTTP) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" && r.URL.Path != "/_sub" {
		refuse(w, http.StatusNotFound, "Not found")
		return
	}
	if r.Method != http.MethodPost {
		refuse(w, http.StatusMethodNotAllowed, "Method not allowed")
		return
	}
	h.mu.Lock()
	s := h.subs[r.URL.Query().Get("id")]
	h.mu.Unlock()
	if s == nil {
		refuse(w, http.StatusNotFound, "Subscriber not found")
		return
	}
	e, err := read(w, r)
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, "Bad message")
		return
	case !s.wants(e):
		refuse(w, http.StatusInternalServerError, "Topic not found")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), putTimeout)
	defer cancel()
	if err := s.Put(ctx, e.message(s.topic, time.Now())); err != nil {
		refuse(w, http.StatusServiceUnavailable, "Subscriber is busy")
	}
}

// wants says whether a message is of the subscription's topic.
func (s *httpSubscription) wants(e *envelope) bool {
	for name, value := range e.Header {
		if (name == headerV1Topic || strings.EqualFold(name, headerTopic)) && value == s.topic {
			return true
		}
	}
	return false
}

// read reads the message of a request.
func read(w http.ResponseWriter, r *http.Request) (*envelope, error) {
	// Base64 takes a third more, and what is escaped in a header six times as
	// much.
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2*maxMessage))
	if err != nil {
		return nil, err
	}
	return open(data)
}

// refuse answers an error.
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"id":"go.micro.broker","code":%d,"detail":%q,"status":%q}`, status, detail, http.StatusText(status))
}
