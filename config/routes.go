package config

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
)

// staticPrefix begins the names of services that stand for routes of the file.
// No resolver finds a name with a slash.
const staticPrefix = "static/"

// Renamed returns the name of the service that stands for a route in another
// version of it: services of the same route stand side by side while one takes the
// place of the other. The policies of the route are those of both names.
func Renamed(service string, version int) string {
	if service = unversioned(service); version > 1 {
		return service + "#" + itoa(version)
	}
	return service
}

// unversioned returns the name that Renamed was given.
func unversioned(service string) string {
	if !Static(service) {
		return service
	}
	name, version, ok := strings.Cut(service, "#")
	if _, err := strconv.Atoi(version); !ok || err != nil {
		return service
	}
	return name
}

// Static says whether a service stands for a route of a file, as a router has
// to know it: nobody else may have what it claims.
func Static(service string) bool { return strings.HasPrefix(service, staticPrefix) }

// Services returns the routes of the file as services that a registry may hold,
// in their order. No two have the same name.
func (f *File) Services() []*registry.Service {
	services := make([]*registry.Service, len(f.Routes))
	for i := range f.Routes {
		services[i] = f.Routes[i].service()
	}
	return services
}

// name returns the name of the service that stands for the route.
func (rt *Route) name() string {
	name := staticPrefix + strings.TrimPrefix(rt.Match, "/")
	if len(rt.Methods) > 0 {
		name += ":" + strings.Join(slices.Sorted(slices.Values(rt.Methods)), ",")
	}
	return name
}

// service returns the service that stands for the route.
func (rt *Route) service() *registry.Service {
	host, path := "", rt.Match
	if i := strings.IndexByte(path, '/'); i > 0 {
		host, path = path[:i], path[i:]
	}
	e := &goapi.Endpoint{Name: rt.Match, Handler: "http", Method: rt.Methods, Path: []string{path}, Strip: rt.Strip}
	if host != "" {
		e.Host = []string{host}
	}
	if rt.Handler != "" {
		e.Handler = rt.Handler
	}
	if rt.Endpoint != "" {
		e.Name = rt.Endpoint
	}
	s := &registry.Service{Name: rt.name(), Endpoints: []*registry.Endpoint{e.Encode()}}
	for _, address := range rt.To {
		n := &registry.Node{ID: address, Address: address, Metadata: map[string]string{}}
		if rt.TLS {
			n.Metadata["secure"] = "true"
		}
		if rt.Handler == "rpc" {
			n.Metadata["protocol"] = "mucp"
		}
		if rt.Protocol != "" {
			n.Metadata["protocol"] = rt.Protocol
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

// check implements checker.
func (rt *Route) check(d *decoder, key string) {
	rt.Policy.check(d, key)
	p, err := parsePattern(rt.Match)
	switch {
	case err != nil:
		d.wrongf(join(key, "match"), "%s", err)
		return
	case strings.Contains(rt.Match, ","):
		d.wrongf(join(key, "match"), "it has a comma, which stands between patterns; write %%2C")
		return
	case rt.Strip != "" && !p.begins(rt.Strip):
		d.wrongf(join(key, "strip"), "paths that %s matches do not begin with it; write the start that they have", rt.Match)
	}
	switch {
	case rt.Handler == "rpc" && rt.Endpoint == "":
		d.wrongf(join(key, "handler"), "it does not say what to call; write endpoint: SERVICE.METHOD, too")
	case rt.Handler != "rpc" && rt.Endpoint != "":
		d.wrongf(join(key, "endpoint"), "only the handler rpc calls one; write handler: rpc, too, or remove it")
	case rt.Handler != "rpc" && rt.Protocol != "":
		d.wrongf(join(key, "protocol"), "it is of the handler rpc; write handler: rpc, too, or remove it")
	case rt.Handler == "rpc" && rt.Strip != "":
		d.wrongf(join(key, "strip"), "the handler rpc forwards no path; remove it")
	}
	for i, method := range rt.Methods {
		if slices.Index(rt.Methods, method) != i {
			d.wrongf(index(join(key, "methods"), i), "%s is there twice; remove one", method)
		}
	}
	for i, address := range rt.To {
		if slices.Index(rt.To, address) != i {
			d.wrongf(index(join(key, "to"), i), "%s is there twice; remove one", address)
			continue
		}
		node := &registry.Node{ID: address, Address: address}
		err := (&registry.Service{Name: rt.name(), Nodes: []*registry.Node{node}}).Validate()
		if wrong, ok := errors.AsType[*registry.FieldError](err); ok {
			d.wrongf(index(join(key, "to"), i), "%s; write HOST:PORT of a service", wrong.Reason)
		}
	}
}

// begins says whether every path that the pattern matches begins with a prefix.
func (p *pattern) begins(prefix string) bool {
	parts := strings.Split(strings.Trim(prefix, "/"), "/")
	if len(parts) > len(p.segments) {
		return false
	}
	for i, part := range parts {
		if s := p.segments[i]; s.kind != literal || s.text != part {
			return false
		}
	}
	return true
}

// checkRoutes notes routes for the same requests.
func (f *File) checkRoutes(d *decoder) {
	type claim struct{ shape, method string }
	first := make(map[claim]int)
	for i := range f.Routes {
		rt := &f.Routes[i]
		p, err := parsePattern(rt.Match)
		if err != nil {
			continue // a mistake, which is noted
		}
		methods := rt.Methods
		if len(methods) == 0 {
			methods = []string{""}
		}
		for _, method := range methods {
			c := claim{p.shape(), method}
			if before, ok := first[c]; ok && before != i {
				d.wrongf(index("routes", i)+".match", "routes[%d], on line %d, is for the same requests; write one, or other methods", before, d.places[index("routes", before)].line)
				break
			}
			first[c] = i
		}
	}
}
