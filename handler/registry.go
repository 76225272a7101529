package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
)

const (
	defaultMaxRecord = 1 << 20
	defaultHeartbeat = 20 * time.Second
	defaultStreams   = 256
	minTTL           = time.Second
	maxTTL           = 24 * time.Hour
	registryTimeout  = 10 * time.Second
	registryMethods  = "GET, HEAD, POST, DELETE"
)

// RegistryOptions adjust a registry handler. A nil *RegistryOptions means all
// defaults.
type RegistryOptions struct {
	// MaxBody bounds the announcement of a service, in bytes. Default: 1 MiB.
	MaxBody int64
	// Heartbeat is how often a stream without changes says that it lives. A
	// client that takes nothing of what it is sent for as long is cut off, and
	// so is one over WebSocket that has not answered when the next but one is
	// due. Default: 20 s.
	Heartbeat time.Duration
	// Streams bounds how many clients follow changes. Default: 256.
	Streams int
	// Done ends all streams when it is closed: a server that drains waits for
	// them. Default: none.
	Done <-chan struct{}
}

func (o *RegistryOptions) orDefault() RegistryOptions {
	var d RegistryOptions
	if o != nil {
		d = *o
	}
	if d.MaxBody <= 0 {
		d.MaxBody = defaultMaxRecord
	}
	if d.Heartbeat <= 0 {
		d.Heartbeat = defaultHeartbeat
	}
	if d.Streams <= 0 {
		d.Streams = defaultStreams
	}
	return d
}

// Registry returns a handler through which services are announced and found
// over HTTP, in go-micro's JSON. It needs no route.
//
//   - GET returns every service as an array; with ?service=NAME every version
//     of one, or 404. Where several registries are read as one, the header
//     Goapi-Incomplete names those that are lost, whose services may be missing.
//   - GET as a WebSocket, or with "Accept: text/event-stream", streams changes,
//     of one service with ?service=NAME. An event is
//     {"Action":"create|update|delete","Service":{…}}: first a create for each
//     service there is, then what happens. A delete holds the nodes that went
//     away, anything else the version as it is now. States that follow each
//     other faster than the client reads are one.
//   - POST announces the nodes of the service that the body is: until DELETE,
//     or with ?ttl=30s, of 1 s to 24 h, unless they are announced again by then.
//   - DELETE withdraws the nodes of the service that the body is, or
//     ?service=NAME&node=ID.
//
// Bodies are application/json. What cannot be registered is 400, which names
// the field, or 413 for what the registry cannot hold.
//
// Whoever reaches the handler can announce anything: it belongs on the admin
// listener.
func Registry(reg registry.Registry, opts *RegistryOptions) http.Handler {
	h := &registryHandler{reg: reg, opts: opts.orDefault()}
	return goapi.HandlerFunc(h.serve)
}

type registryHandler struct {
	reg     registry.Registry
	opts    RegistryOptions
	streams atomic.Int64 // that are open
}

func (h *registryHandler) serve(w http.ResponseWriter, r *http.Request) error {
	var serve func(http.ResponseWriter, *http.Request, url.Values) error
	known := []string{"service"}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		serve = h.find
	case http.MethodPost:
		serve, known = h.register, []string{"ttl"}
	case http.MethodDelete:
		serve, known = h.deregister, []string{"service", "node"}
	default:
		return &goapi.Error{
			Code: http.StatusMethodNotAllowed, ID: goapi.OwnID,
			Detail: "the registry is for " + registryMethods,
			Header: http.Header{"Allow": {registryMethods}},
		}
	}
	query, err := readQuery(r, known)
	if err != nil {
		return err
	}
	if f := h.followerFor(w, r); f != nil {
		return h.stream(r, f, query.Get("service"))
	}
	ctx, cancel := context.WithTimeout(r.Context(), registryTimeout)
	defer cancel()
	return registryError(serve(w, r.WithContext(ctx), query))
}

// readQuery returns the query, in which every name is known and occurs once: a
// typo must not be a default.
func readQuery(r *http.Request, known []string) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, goapi.NewError(http.StatusBadRequest, "the query is malformed", err)
	}
	for name, values := range query {
		if !slices.Contains(known, name) {
			return nil, goapi.NewError(http.StatusBadRequest,
				fmt.Sprintf("%.40q is no parameter of %s; known: %s", name, r.Method, strings.Join(known, ", ")), nil)
		}
		if len(values) > 1 || values[0] == "" {
			return nil, goapi.NewError(http.StatusBadRequest, name+": give it once, with a value", nil)
		}
	}
	return query, nil
}

// find answers with every service, or with every version of one.
func (h *registryHandler) find(w http.ResponseWriter, r *http.Request, query url.Values) error {
	var (
		services []*registry.Service
		err      error
	)
	if name := query.Get("service"); name != "" {
		services, err = h.reg.Get(r.Context(), name)
	} else {
		services, err = h.reg.List(r.Context())
	}
	if err != nil {
		return err
	}
	if services == nil {
		services = []*registry.Service{}
	}
	if lost := h.lost(); len(lost) > 0 {
		w.Header().Set("Goapi-Incomplete", strings.Join(lost, ", "))
	}
	return writeJSON(w, r, services)
}

// lost returns the names of the registries that are lost, of several that are
// read as one.
func (h *registryHandler) lost() []string {
	joined, ok := h.reg.(interface{ Members() []registry.MemberState })
	if !ok {
		return nil
	}
	var names []string
	for _, m := range joined.Members() {
		if m.Err != nil {
			names = append(names, m.Name)
		}
	}
	return names
}

// register announces the nodes of the service in the body.
func (h *registryHandler) register(w http.ResponseWriter, r *http.Request, query url.Values) error {
	var ttl time.Duration
	if text := query.Get("ttl"); text != "" {
		var err error
		if ttl, err = time.ParseDuration(text); err != nil || ttl < minTTL || ttl > maxTTL {
			return goapi.NewError(http.StatusBadRequest, "ttl: want a duration from 1s to 24h, such as 30s", err)
		}
	}
	s, err := h.readService(w, r)
	if err != nil {
		return err
	}
	if err := s.Validate(); err != nil {
		return err
	}
	if err := h.reg.Register(r.Context(), s, ttl); err != nil {
		return err
	}
	return writeJSON(w, r, struct{}{})
}

// deregister withdraws the nodes of the service in the body, or the one in the
// query.
func (h *registryHandler) deregister(w http.ResponseWriter, r *http.Request, query url.Values) error {
	var (
		s   *registry.Service
		err error
	)
	if len(query) > 0 {
		s, err = namedNode(query)
	} else {
		s, err = h.readService(w, r)
	}
	if err != nil {
		return err
	}
	switch {
	case s.Name == "":
		return &registry.FieldError{Field: "name", Reason: "which service is to be withdrawn?"}
	case len(s.Nodes) == 0:
		return &registry.FieldError{Field: "nodes", Reason: "which nodes are to be withdrawn?"}
	}
	for i, n := range s.Nodes {
		if n.ID == "" {
			return &registry.FieldError{Field: fmt.Sprintf("nodes[%d].id", i), Reason: "a node needs an id"}
		}
	}
	if err := h.reg.Deregister(r.Context(), s); err != nil {
		return err
	}
	return writeJSON(w, r, struct{}{})
}

func namedNode(query url.Values) (*registry.Service, error) {
	service, node := query.Get("service"), query.Get("node")
	if service == "" || node == "" {
		return nil, goapi.NewError(http.StatusBadRequest, "give both service and node, or a service as the body", nil)
	}
	return &registry.Service{Name: service, Nodes: []*registry.Node{{ID: node}}}, nil
}

// readService returns the service that the body is.
func (h *registryHandler) readService(w http.ResponseWriter, r *http.Request) (*registry.Service, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, goapi.NewError(http.StatusUnsupportedMediaType, "the body must be application/json", err)
	}
	data, err := new(wholeBody).read(w, r, h.opts.MaxBody)
	if err != nil {
		return nil, err
	}
	s := new(registry.Service)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, badJSON(err)
	}
	return s, nil
}

// badJSON says where a body is not the JSON of a service: a *registry.FieldError
// does so by itself.
func badJSON(err error) error {
	var (
		field  *registry.FieldError
		syntax *json.SyntaxError
	)
	switch {
	case errors.As(err, &field):
		return field
	case errors.As(err, &syntax):
		return goapi.NewError(http.StatusBadRequest,
			fmt.Sprintf("the body is not JSON: byte %d does not belong there", syntax.Offset), err)
	}
	return goapi.NewError(http.StatusBadRequest, "the body is not a service in JSON", err)
}

// registryError says whose deadline it was; all else, goapi.Status knows.
func registryError(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return goapi.NewError(http.StatusGatewayTimeout, "the registry did not answer in time", err)
	case errors.Is(err, registry.ErrReadOnly):
		e := goapi.NewError(http.StatusMethodNotAllowed, "the gateway's registry is not written through it", err)
		e.Header = http.Header{"Allow": {"GET, HEAD"}}
		return e
	}
	return err
}

func unavailable(detail string, cause error) error {
	e := goapi.NewError(http.StatusServiceUnavailable, detail, cause)
	e.Header = http.Header{"Retry-After": {"1"}}
	return e
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("handler: encode %T: %w", v, err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(append(body, '\n')) // the client is gone; nobody to tell
	}
	return nil
}
