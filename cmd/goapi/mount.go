package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
)

// A mount gives a path of the public listener to a handler.
type mount struct {
	path    string // begins with a slash and does not end with one
	handler string // event, cloudevents or broker
	options url.Values
}

// mountOptions are what may follow the handler of a mount, by handler.
func mountOptions() map[string][]string {
	return map[string][]string{
		"event":       {"namespace", "format", "allow_header", "deny_header"},
		"cloudevents": {"namespace", "format", "allow_header", "deny_header", "webhook_origin", "webhook_rate"},
		"broker":      {"group", "allow_header", "deny_header"},
	}
}

// repeatable says that an option of a mount may be there more than once.
func repeatable(option string) bool {
	return slices.Contains([]string{"group", "webhook_origin", "allow_header", "deny_header"}, option)
}

// parseMount reads PATH=HANDLER[?OPTION=VALUE&…].
func parseMount(s string) (mount, error) {
	path, rest, ok := strings.Cut(s, "=")
	name, query, _ := strings.Cut(rest, "?")
	if !ok || !strings.HasPrefix(path, "/") || strings.Trim(path, "/") == "" || path != "/"+strings.Trim(path, "/") || strings.Contains(path, "//") {
		return mount{}, errors.New("want PATH=HANDLER, such as /events=event")
	}
	if (&url.URL{Path: path}).EscapedPath() != path { // requests never have it as it is
		return mount{}, fmt.Errorf("the path %q has characters that need an escape", path)
	}
	if slices.ContainsFunc(strings.Split(path, "/"), func(s string) bool { return s == "." || s == ".." }) { // see above
		return mount{}, fmt.Errorf("the path %q has . or .., which no request has: write where it leads", path)
	}
	known, ok := mountOptions()[name]
	if !ok {
		return mount{}, fmt.Errorf("no handler %q; want event, cloudevents or broker", name)
	}
	options, err := url.ParseQuery(query)
	if err != nil {
		return mount{}, fmt.Errorf("malformed options: %w", err)
	}
	for option, values := range options {
		if !slices.Contains(known, option) {
			return mount{}, fmt.Errorf("%s has no option %q; it has %s", name, option, strings.Join(known, ", "))
		}
		if len(values) > 1 && !repeatable(option) {
			return mount{}, fmt.Errorf("the option %q is there %d times", option, len(values))
		}
	}
	m := mount{path, name, options}
	if err := m.check(); err != nil {
		return mount{}, err
	}
	return m, nil
}

// check returns what the options say that cannot be.
func (m *mount) check() error {
	if _, err := m.format(); err != nil {
		return err
	}
	if _, err := m.webhookRate(); err != nil {
		return err
	}
	if ns := strings.TrimSuffix(m.options.Get("namespace"), "."); ns != "" {
		if err := broker.CheckTopic(ns); err != nil {
			return fmt.Errorf("namespace: %s", strings.TrimPrefix(err.Error(), "broker: "))
		}
	}
	for _, group := range m.options["group"] {
		if err := broker.CheckPattern(group); err != nil {
			return fmt.Errorf("group: %s", strings.TrimPrefix(err.Error(), "broker: "))
		}
	}
	for _, option := range []string{"allow_header", "deny_header"} {
		for _, name := range m.options[option] {
			if !httpguts.ValidHeaderFieldName(name) {
				return fmt.Errorf("%s %q: want the name of a header, and repeat the option for several", option, name)
			}
		}
	}
	return nil
}

// header says which headers of a request are published.
func (m *mount) header() handler.BrokerHeader {
	return handler.BrokerHeader{Allow: m.options["allow_header"], Deny: m.options["deny_header"]}
}

// The names of encodings.
const (
	formatJSON     = "json"
	formatProtobuf = "protobuf"
)

// A format is how events lie in messages.
type format struct {
	protobuf bool
	mode     handler.CloudEventsMode
}

// format reads the option of that name.
func (m *mount) format() (format, error) {
	formats := map[string]format{"": {}, formatJSON: {}, formatProtobuf: {protobuf: true}}
	known := "json or protobuf"
	if m.handler == "cloudevents" {
		formats = map[string]format{"": {}, formatJSON: {}, "structured": {mode: handler.CloudEventsStructured}, "binary": {mode: handler.CloudEventsBinary}}
		known = "json, structured or binary"
	}
	f, ok := formats[m.options.Get("format")]
	if !ok {
		return f, fmt.Errorf("format %q: want %s", m.options.Get("format"), known)
	}
	return f, nil
}

// webhookRate reads the option webhook_rate.
func (m *mount) webhookRate() (int, error) {
	s := m.options.Get("webhook_rate")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("webhook_rate %q: want a number of requests a minute", s)
	}
	return n, nil
}

// parseMounts reads --mount.
func parseMounts(list []string) ([]mount, error) {
	var mounts []mount
	for _, s := range list {
		m, err := parseMount(s)
		if err != nil {
			return nil, fmt.Errorf("--mount %q: %w", s, err)
		}
		if slices.ContainsFunc(mounts, func(other mount) bool { return other.path == m.path }) {
			return nil, fmt.Errorf("--mount %s is given twice", m.path)
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// A mounted is a mount and what serves it.
type mounted struct {
	admin.Mount

	handler http.Handler
}

// withMounts gives requests below a path to its handler within its policies,
// with that path taken away, and all others to next. The longest path goes first.
// Paths are compared as they were received, so that each means one thing only.
func withMounts(mounts []mounted, wrap func(*goapi.Route, http.Handler) http.Handler, next http.Handler) http.Handler {
	if len(mounts) == 0 {
		return next
	}
	mounts = slices.Clone(mounts)
	slices.SortFunc(mounts, func(a, b mounted) int { return len(b.Path) - len(a.Path) })
	for i, m := range mounts {
		rt := m.Route()
		mounts[i].handler = goapi.With(rt, wrap(rt, http.StripPrefix(m.Path, m.handler)))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.EscapedPath()
		for _, m := range mounts {
			if m.Holds(path) {
				m.handler.ServeHTTP(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
