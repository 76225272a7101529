package router

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
)

const (
	maxEndpoints   = 10_000   // of an announcement; and as many claims
	maxExpressions = 256      // of a service
	maxMetadata    = 64 << 10 // of a service, a node or an endpoint, in bytes
	maxName        = 255      // of a service, or the id of a node, in bytes
)

// announcement is what one registry.Service says, read.
type announcement struct {
	claims  []*claim // in the order of the endpoints; no key twice; their routes have no upstream yet
	methods []*goapi.Endpoint
	keys    map[string]struct{} // of the claims and methods
	hides   bool                // an endpoint that is not to be exposed
	reports []Report
}

// A claim is what a service wants to be routed to it: requests for one pattern,
// one host or any, and one method or any.
//
// What a search looks at is in the first cache line, and what sets the variable
// of most patterns in one other: 192 bytes are aligned.
type claim struct {
	route   *goapi.Route
	method  string // "" is any
	pattern pattern
	host    string // "" is any; ".example.com" is a wildcard
	first   [1]variable
	// key is equal for claims of nodes that may serve each other's requests.
	key string
}

// waitsFor reports that another claim has the slot.
func (c *claim) waitsFor(holder *claim) Report {
	e, has := c.route.Endpoint, holder.route
	by := "endpoint " + has.Endpoint.Name + " of the same service"
	if has.Service != c.route.Service && has.Service != "" {
		by = "service " + has.Service
	}
	return Report{
		Kind: Conflict, Service: c.route.Service, Endpoint: e.Name, Pattern: printable(c.pattern.text, 200),
		Reason: fmt.Sprintf("%s has %s already", by, holder.wanted()),
	}
}

// wanted says what requests the claim is for.
func (c *claim) wanted() string {
	method, host := cmp.Or(c.method, "any method"), c.host
	if strings.HasPrefix(host, ".") {
		host = "*" + host
	}
	return fmt.Sprintf("%s %s%s", method, host, printable(c.pattern.text, 200))
}

// slot is equal for claims of which only one can be granted.
func (c *claim) slot() string {
	return c.host + "\x00" + c.method + "\x00" + c.pattern.shape()
}

// reader reads announcements.
type reader struct {
	handlers []string
	patterns map[string]*pattern // that were parsed before, by text
	exprs    map[string]struct{} // that were met
}

// reader returns a reader that has parsed the patterns of some claims before.
func (l *lineage) reader(before []*claim) *reader {
	r := &reader{handlers: l.opts.Handlers, patterns: make(map[string]*pattern, len(before)), exprs: make(map[string]struct{})}
	for _, c := range before {
		r.patterns[c.pattern.text] = &c.pattern
	}
	return r
}

// read returns what s says. Reports have no service yet.
func (r *reader) read(s *registry.Service) *announcement {
	a := &announcement{keys: make(map[string]struct{}, len(s.Endpoints))}
	if isHidden(s) {
		return a
	}
	for i, e := range s.Endpoints {
		if i == maxEndpoints {
			a.leaveOut(nil, fmt.Sprintf("%d endpoints beyond the first %d", len(s.Endpoints)-i, i))
			break
		}
		if e == nil {
			continue
		}
		if e.Metadata["subscriber"] == "true" {
			a.hides = a.hides || registry.IsPushed(s, e) // it is for the gateway alone
			continue
		}
		if unexposed(e.Metadata) {
			a.hides = true
			continue
		}
		if size := metadataSize(e.Metadata); size > maxMetadata {
			a.leaveOut(&goapi.Endpoint{Name: e.Name}, fmt.Sprintf("its metadata has %d bytes, more than %d", size, maxMetadata))
			continue
		}
		d := goapi.DecodeEndpoint(e)
		if d.Name == "" || d.Name != printable(d.Name, maxName) {
			a.leaveOut(d, "its name is empty, too long or not printable")
			continue
		}
		if isMethod(d) {
			a.addMethod(d)
		}
		claims, err := r.claims(d, maxEndpoints-len(a.claims))
		if err != nil {
			a.leaveOut(d, err.Error())
			continue
		}
		a.add(claims)
	}
	return a
}

// add adds claims, except those that are there.
func (a *announcement) add(claims []*claim) {
	for _, c := range claims {
		if _, twice := a.keys[c.key]; !twice {
			a.keys[c.key] = struct{}{}
			a.claims = append(a.claims, c)
		}
	}
}

// addMethod adds a method that can be called, except one that is there.
func (a *announcement) addMethod(e *goapi.Endpoint) {
	key := methodKey(e.Name)
	if _, twice := a.keys[key]; !twice {
		a.keys[key] = struct{}{}
		a.methods = append(a.methods, e)
	}
}

// leaveOut reports what is not routed, and why.
func (a *announcement) leaveOut(e *goapi.Endpoint, reason string) {
	r := Report{Kind: LeftOut, Reason: reason}
	if e != nil {
		r.Endpoint = printable(e.Name, 100)
		r.Pattern = printable(strings.Join(e.Path, ","), 200)
	}
	a.reports = append(a.reports, r)
}

// unexposed says that metadata keeps what it is of from the public.
func unexposed(md map[string]string) bool { return md["expose"] == "false" }

// isHidden says that a service is not to be exposed. Services of go-micro can
// only say so in the metadata of their nodes, which are all alike.
func isHidden(s *registry.Service) bool {
	return unexposed(s.Metadata) || slices.ContainsFunc(s.Nodes, func(n *registry.Node) bool { return n != nil && unexposed(n.Metadata) })
}

// onlyTakes says that a service is there for nothing but messages that are pushed
// to it.
func onlyTakes(s *registry.Service) bool {
	for _, e := range s.Endpoints {
		if !registry.IsPushed(s, e) {
			return false
		}
	}
	return len(s.Endpoints) > 0
}

// metadataSize returns the bytes of metadata.
func metadataSize(md map[string]string) int {
	size := 0
	for k, v := range md {
		size += len(k) + len(v)
	}
	return size
}

// isMethod says whether an endpoint can be called by RPC. What has a URL
// pattern for a name, or a handler that does not call, cannot.
func isMethod(e *goapi.Endpoint) bool {
	switch e.Handler {
	case "", handlerRPC, handlerAPI:
		return !strings.Contains(e.Name, "/")
	}
	return false
}

// claims returns a claim for each path, host and method of an endpoint, for as
// many as there is room for. An endpoint without a path has none, if it can be
// called by its name.
func (r *reader) claims(e *goapi.Endpoint, room int) ([]*claim, error) {
	if err := r.checkHandler(e); err != nil {
		return nil, err
	}
	if len(e.Path) == 0 {
		return nil, nil
	}
	hosts, err := announcedHosts(e.Host)
	if err != nil {
		return nil, err
	}
	methods, err := announcedMethods(e.Method)
	if err != nil {
		return nil, err
	}
	if len(e.Path)*len(hosts)*len(methods) > room {
		return nil, fmt.Errorf("the service has more than %d patterns, counted for each host and method", maxEndpoints)
	}
	var claims []*claim
	for _, path := range e.Path {
		p, err := r.pattern(path)
		if err != nil {
			return nil, fmt.Errorf("path %q: %w", printable(path, 100), err)
		}
		for _, host := range hosts {
			for _, method := range methods {
				claims = append(claims, newClaim(e, p, host, method))
			}
		}
	}
	return claims, nil
}

// checkHandler says why an endpoint cannot be served, if so.
func (r *reader) checkHandler(e *goapi.Endpoint) error {
	h := e.Handler
	switch {
	case h == "" && len(e.Path) == 0:
		return nil // it can be called by its name
	case h == "":
		return fmt.Errorf("it has a path but no handler; the gateway has %s", strings.Join(r.handlers, ", "))
	case h == "broker" || h == "registry":
		return fmt.Errorf("handler %q serves mounts only, which the gateway's configuration makes", h)
	case !slices.Contains(r.handlers, h):
		return fmt.Errorf("the gateway has no handler %q, only %s", printable(h, 40), strings.Join(r.handlers, ", "))
	case len(e.Path) == 0 && h != handlerRPC:
		return errors.New("it has a handler but no path")
	case e.Strip != "" && e.Strip[0] != '/':
		return fmt.Errorf("strip %q: no path begins with it, since it does not begin with /", printable(e.Strip, 100))
	}
	return nil
}

// pattern parses a path, unless that was done before.
func (r *reader) pattern(text string) (*pattern, error) {
	if strings.HasPrefix(text, "^") {
		if _, met := r.exprs[text]; !met && len(r.exprs) == maxExpressions {
			return nil, fmt.Errorf("the service has more than %d regular expressions", maxExpressions)
		}
		r.exprs[text] = struct{}{}
	}
	if p := r.patterns[text]; p != nil {
		return p, nil
	}
	p, err := parsePattern(text)
	if err != nil {
		return nil, err
	}
	r.patterns[text] = p
	return p, nil
}

func newClaim(e *goapi.Endpoint, p *pattern, host, method string) *claim {
	key := strings.Join([]string{
		e.Name, e.Handler, e.Body, e.Strip, strconv.FormatBool(e.Stream), host, method, p.text,
	}, "\x00")
	c := &claim{pattern: *p, host: host, method: method, key: key, route: &goapi.Route{Pattern: p.text, Endpoint: e}}
	if copy(c.first[:], p.variables) == len(p.variables) {
		c.pattern.variables = c.first[:len(p.variables)]
	}
	return c
}

// exposedKey is the key of the nodes that are not hidden, where some are.
const exposedKey = "\x00\x00exposed"

// methodKey is the key of the nodes that have a method.
func methodKey(name string) string { return "\x00" + name }

func announcedHosts(list []string) ([]string, error) {
	if len(list) == 0 {
		return []string{""}, nil
	}
	hosts := make([]string, 0, len(list))
	for _, s := range list {
		h, err := announcedHost(s)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

func announcedMethods(list []string) ([]string, error) {
	if len(list) == 0 {
		return []string{""}, nil
	}
	methods := make([]string, 0, len(list))
	for _, s := range list {
		m := strings.ToUpper(s)
		switch {
		case m == "CONNECT":
			return nil, errors.New("the method CONNECT is never routed")
		case len(m) > 40 || strings.Trim(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "":
			return nil, fmt.Errorf("%q is not a method; for any, announce none", printable(s, 40))
		}
		methods = append(methods, knownMethod(m))
	}
	return methods, nil
}

// knownMethod returns a method as the constant that there is for it: a search
// need not wait for the memory of yet another "GET".
func knownMethod(m string) string {
	for _, known := range []string{
		http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodHead, http.MethodOptions,
	} {
		if m == known {
			return known
		}
	}
	return m
}

// sameEndpoint says whether two decoded endpoints were announced alike.
func sameEndpoint(a, b *goapi.Endpoint) bool {
	return a == b || a.Name == b.Name && maps.Equal(a.Metadata, b.Metadata) &&
		a.Request.Equal(b.Request) && a.Response.Equal(b.Response)
}

// isBroker says whether a node only takes messages for go-micro's HTTP broker.
// A node that can be called names the broker, too, but it has a protocol.
func isBroker(n *registry.Node) bool {
	return n.Metadata["broker"] == "http" && n.Metadata["protocol"] == ""
}

// isCalled says whether a node is called by RPC.
func isCalled(n *registry.Node) bool {
	p := n.Metadata["protocol"]
	return p == "mucp" || p == "grpc"
}

// badNode says why a node cannot be used, if so.
func badNode(n *registry.Node, seen map[string]bool) string {
	if field, ok := errors.AsType[*registry.FieldError](n.Validate()); ok {
		return field.Field + ": " + field.Reason
	}
	if seen[n.ID] {
		return "another node has the same id"
	}
	if size := metadataSize(n.Metadata); size > maxMetadata {
		return fmt.Sprintf("its metadata has %d bytes, more than %d", size, maxMetadata)
	}
	return ""
}
