package goapi

import (
	"maps"
	"strings"

	"github.com/goapi-dev/goapi/registry"
)

// The keys of the registry metadata that describe an endpoint. The first six
// are go-micro's; of the others it knows stream.
const (
	metaEndpoint    = "endpoint"
	metaDescription = "description"
	metaHandler     = "handler"
	metaHost        = "host"
	metaMethod      = "method"
	metaPath        = "path"
	metaBody        = "body"
	metaStream      = "stream"
	metaStrip       = "strip"
	metaTopic       = "topic"
)

// An Endpoint is a method of a service and how it appears over HTTP. Services
// announce it as registry metadata. Shared: read-only.
type Endpoint struct {
	// Name is the method of the service: "Greeter.Hello".
	Name string
	// Description is for people.
	Description string
	// Handler names the handler that serves the endpoint: rpc, http, …
	Handler string
	// Host holds the hosts it is for. Empty, or "*", is any.
	Host []string
	// Method holds the HTTP methods it is for. Empty is any.
	Method []string
	// Path holds templates as of google.api.http, or regular expressions that
	// start with "^" and end with "$".
	Path []string
	// Body names the field of the request message that takes the HTTP body.
	// Empty, or "*", is the whole message.
	Body string
	// Strip is a prefix of the path that is not forwarded.
	Strip string
	// Topic is where the handlers event and cloudevents publish a request. Empty
	// leaves it to them.
	Topic string
	// Stream says that the method sends or receives more than one message.
	Stream bool
	// Request and Response describe the messages; nil where nothing is known.
	Request, Response *registry.Value
	// Metadata is what the service announced, the keys above included.
	Metadata map[string]string
}

// IsAnnounced says whether the service has told more of the endpoint than its name.
// Of one that it has not, such as a method that only a caller names, nobody knows
// whether it streams.
func (e *Endpoint) IsAnnounced() bool {
	return e.Metadata != nil || e.Request != nil || e.Response != nil
}

// DecodeEndpoint reads what a service announced. It accepts everything; what
// makes a valid route is the router's to say.
func DecodeEndpoint(e *registry.Endpoint) *Endpoint {
	m := e.Metadata
	d := &Endpoint{
		Name:        m[metaEndpoint],
		Description: m[metaDescription],
		Handler:     strings.TrimSpace(m[metaHandler]),
		Host:        splitList(m[metaHost]),
		Method:      splitList(m[metaMethod]),
		Path:        splitPaths(m[metaPath]),
		Body:        m[metaBody],
		Strip:       m[metaStrip],
		Topic:       m[metaTopic],
		Stream:      m[metaStream] == "true",
		Request:     e.Request,
		Response:    e.Response,
		Metadata:    m,
	}
	if d.Name == "" {
		d.Name = e.Name
	}
	return d
}

// Encode returns e as a service announces it. Keys of e.Metadata that
// describe nothing of the above are kept.
func (e *Endpoint) Encode() *registry.Endpoint {
	m := make(map[string]string, len(e.Metadata)+6)
	maps.Copy(m, e.Metadata)
	set := func(key, value string) {
		delete(m, key)
		if value != "" {
			m[key] = value
		}
	}
	set(metaEndpoint, e.Name)
	set(metaDescription, e.Description)
	set(metaHandler, e.Handler)
	set(metaHost, strings.Join(e.Host, ","))
	set(metaMethod, strings.Join(e.Method, ","))
	set(metaPath, strings.Join(e.Path, ","))
	set(metaBody, e.Body)
	set(metaStrip, e.Strip)
	set(metaTopic, e.Topic)
	set(metaStream, "")
	if e.Stream {
		m[metaStream] = "true"
	}
	return &registry.Endpoint{Name: e.Name, Request: e.Request, Response: e.Response, Metadata: m}
}

// splitList reads a comma-joined list and drops empty elements.
func splitList(s string) []string {
	if s == "" {
		return nil
	}
	var list []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// splitPaths is splitList for paths. A regular expression may hold a comma
// ("^/a{1,3}$"): what starts with neither "/" nor "^" goes on with the
// expression before it.
func splitPaths(s string) []string {
	if s == "" {
		return nil
	}
	var paths []string
	for part := range strings.SplitSeq(s, ",") {
		trimmed := strings.TrimSpace(part)
		switch last := len(paths) - 1; {
		case last >= 0 && openRegexp(paths[last]) && !strings.HasPrefix(trimmed, "/"):
			paths[last] += "," + part
		case trimmed != "":
			paths = append(paths, trimmed)
		}
	}
	return paths
}

// openRegexp says that a path starts as a regular expression and has no end.
func openRegexp(p string) bool {
	return strings.HasPrefix(p, "^") && !strings.HasSuffix(p, "$")
}
