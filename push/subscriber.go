package push

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
)

const (
	maxEndpoints     = 10_000 // of an announcement
	maxTopics        = 100    // of a service
	maxSubscriptions = 4096   // of a gateway
	maxGroup         = 200    // bytes of a group's name, as package broker has it
	maxReported      = 10_000
)

// The protocols that an endpoint may ask for.
const (
	protocolCloudEvents = "cloudevents"
	protocolMicro       = "micro"
)

// A key names a subscription.
type key struct{ service, topic string }

// A subscriber is an endpoint that has asked for a topic, as those nodes of a
// service announce it that can be pushed to.
type subscriber struct {
	key

	endpoint string
	ways     map[string]way // by the id of the node
}

// A way is how a node is pushed to.
type way struct {
	protocol string
	path     string // of a CloudEvent
}

// fits says whether a node is one that can be pushed to.
func (s *subscriber) fits(n *registry.Node) bool {
	_, ok := s.ways[n.ID]
	return ok
}

// holds says whether an announcement is of the subscriber.
func (s *subscriber) holds(announced *registry.Service) bool {
	return slices.ContainsFunc(announced.Endpoints, func(e *registry.Endpoint) bool {
		return registry.IsPushed(announced, e) && e.Metadata["topic"] == s.topic && nameOf(e) == s.endpoint
	})
}

func nameOf(e *registry.Endpoint) string { return cmp.Or(e.Metadata["endpoint"], e.Name) }

// A reader finds the subscribers among what is announced. What it finds wrong it
// logs once.
type reader struct {
	topics      broker.Patterns
	deadLetters string
	log         *slog.Logger
	known       map[*registry.Service][]*registry.Endpoint // that ask, in what was read before
	reported    map[report]struct{}
}

// A report says why an endpoint is not pushed to.
type report struct{ service, endpoint, reason string }

func newReader(o *Options) *reader {
	return &reader{
		topics: broker.NewPatterns(o.Topics...), deadLetters: o.DeadLetters, log: o.Logger,
		reported: make(map[report]struct{}),
	}
}

// read returns the subscribers in a complete state. Where there are more than
// may be, those that run already go before others.
func (r *reader) read(services []*registry.Service, runs func(key) bool) map[key]*subscriber {
	if len(r.reported) > maxReported {
		clear(r.reported) // rather repeat some
	}
	found := make(map[key]map[string]*subscriber) // by endpoint
	known := make(map[*registry.Service][]*registry.Endpoint, len(services))
	for _, s := range services {
		asking, ok := r.known[s]
		if !ok {
			asking = askingOf(s)
		}
		known[s] = asking
		for _, e := range asking {
			r.add(found, s, e)
		}
	}
	r.known = known
	chosen := make(map[key]*subscriber, len(found))
	for k, byName := range found {
		chosen[k] = r.choose(byName)
	}
	r.bound(chosen, runs)
	return chosen
}

// askingOf returns the endpoints of an announcement that ask.
func askingOf(s *registry.Service) []*registry.Endpoint {
	var asking []*registry.Endpoint
	for _, e := range s.Endpoints[:min(len(s.Endpoints), maxEndpoints)] {
		if registry.IsPushed(s, e) {
			asking = append(asking, e)
		}
	}
	return asking
}

// add adds what one announcement says of an endpoint that asks.
func (r *reader) add(found map[key]map[string]*subscriber, s *registry.Service, e *registry.Endpoint) {
	d := goapi.DecodeEndpoint(e)
	if err := r.check(s.Name, d.Topic); err != nil {
		r.leaveOut(s.Name, d.Name, err.Error())
		return
	}
	k := key{s.Name, d.Topic}
	to := found[k][d.Name]
	if to == nil {
		to = &subscriber{key: k, endpoint: d.Name, ways: make(map[string]way)}
	}
	for _, n := range s.Nodes {
		if !registry.IsPushedTo(n, e) {
			continue
		}
		w, err := wayOf(n, d)
		if err != nil {
			r.leaveOut(s.Name, d.Name, err.Error())
			continue
		}
		if _, twice := to.ways[n.ID]; !twice { // of nodes with one id the first counts, as in pools
			to.ways[n.ID] = w
		}
	}
	if len(to.ways) == 0 {
		return
	}
	if found[k] == nil {
		found[k] = make(map[string]*subscriber)
	}
	found[k][d.Name] = to
}

// check says why a topic is not pushed to a service, if so.
func (r *reader) check(service, topic string) error {
	if err := checkNames(service, topic); err != nil {
		return err
	}
	if topic == r.deadLetters {
		return errors.New("it asks for the topic of dead letters, which is never pushed")
	}
	if !r.topics.Match(topic) {
		return fmt.Errorf("topic %q may not be pushed; the option Topics (--push) lists those that may", topic)
	}
	return nil
}

// Check says why an endpoint that asks for it, as [registry.IsPushedTo] has it,
// cannot be pushed to at a node of a service, or returns nil. Which topics may be
// pushed is a gateway's to say.
func Check(service string, n *registry.Node, e *goapi.Endpoint) error {
	if err := checkNames(service, e.Topic); err != nil {
		return err
	}
	_, err := wayOf(n, e)
	return err
}

// checkNames says why no topic of that name is pushed to a service, if so.
func checkNames(service, topic string) error {
	if !isGroup(service) {
		return fmt.Errorf("the name of the service is no name of a group: want at most %d bytes without control characters and outer spaces", maxGroup)
	}
	return broker.CheckTopic(topic)
}

// wayOf returns how a node is pushed to at an endpoint, or why it cannot be.
func wayOf(n *registry.Node, e *goapi.Endpoint) (way, error) {
	protocol := e.Metadata["protocol"]
	switch cmp.Or(protocol, protocolOf(n)) {
	case protocolCloudEvents:
	case protocolMicro, client.ProtocolMicro:
		return way{protocol: protocolMicro}, nil // whose events have no path
	case client.ProtocolGRPC:
		return way{}, errors.New("nodes that speak gRPC cannot be pushed to; one that takes CloudEvents over HTTP as well announces protocol=cloudevents")
	default:
		return way{}, fmt.Errorf("protocol %q cannot be pushed; want cloudevents or micro", cut(protocol, 40))
	}
	w := way{protocol: protocolCloudEvents, path: "/"}
	if len(e.Path) > 0 {
		w.path = e.Path[0]
	}
	if !isPath(w.path) {
		return way{}, fmt.Errorf("path %q cannot be posted to; want one that begins with /, is escaped as in a URL, and has no variables", cut(w.path, 100))
	}
	return w, nil
}

// isGroup says whether a service's name can be that of a group, and stand in the
// header of a message.
func isGroup(name string) bool {
	return name != "" && len(name) <= maxGroup && (&broker.Message{ID: name}).Check() == nil
}

// isPath says whether a path, which may have a query, names one place and is
// posted to as it is: it is no template and no regular expression.
func isPath(path string) bool {
	u, err := url.ParseRequestURI(path)
	return err == nil && path[0] == '/' && u.RequestURI() == path && !strings.ContainsAny(path, "{}*^\\ #") &&
		strings.IndexFunc(path, func(c rune) bool { return c <= ' ' || c >= unicode.MaxASCII }) < 0
}

// protocolOf returns the protocol that a node speaks. Nodes of go-micro say so,
// and those that lack it name their server or transport. Any other is taken to
// speak HTTP, as it is for requests.
func protocolOf(n *registry.Node) string {
	switch protocol := n.Metadata["protocol"]; {
	case protocol == client.ProtocolGRPC:
		return protocol
	case protocol == client.ProtocolMicro, protocol == "" && n.Metadata["server"]+n.Metadata["transport"] != "":
		return protocolMicro
	}
	return protocolCloudEvents
}

// choose returns that of several endpoints of a service which gets a topic: they
// share one group, so that only one can.
func (r *reader) choose(byName map[string]*subscriber) *subscriber {
	names := slices.Sorted(maps.Keys(byName))
	first := byName[names[0]]
	for _, name := range names[1:] {
		r.leaveOut(first.service, name, fmt.Sprintf("topic %q goes to endpoint %s of the same service, and to one endpoint only", first.topic, cut(names[0], 100)))
	}
	return first
}

// bound takes away what is too much.
func (r *reader) bound(chosen map[key]*subscriber, runs func(key) bool) {
	order := slices.SortedFunc(maps.Keys(chosen), func(a, b key) int {
		if runsA, runsB := runs(a), runs(b); runsA != runsB {
			if runsA {
				return -1
			}
			return 1
		}
		return cmp.Or(strings.Compare(a.service, b.service), strings.Compare(a.topic, b.topic))
	})
	topics, all := make(map[string]int), 0
	for _, k := range order {
		switch {
		case topics[k.service] == maxTopics:
			r.leaveOut(k.service, chosen[k].endpoint, fmt.Sprintf("the service asks for more than %d topics", maxTopics))
			delete(chosen, k)
		case all == maxSubscriptions:
			r.leaveOut(k.service, chosen[k].endpoint, fmt.Sprintf("the gateway pushes %d topics to services already", maxSubscriptions))
			delete(chosen, k)
		default:
			topics[k.service]++
			all++
		}
	}
}

// leaveOut logs why an endpoint is not pushed to, unless that is known.
func (r *reader) leaveOut(service, endpoint, reason string) {
	what := report{cut(service, 100), cut(endpoint, 100), reason}
	if _, known := r.reported[what]; known {
		return
	}
	r.reported[what] = struct{}{}
	r.log.Warn("not pushed", slog.String("service", what.service), slog.String("endpoint", what.endpoint), slog.String("reason", reason))
}

// cut returns a text as a line of at most so many bytes.
func cut(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s[:min(len(s), 4*most)])
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = strings.TrimSpace(strings.ToValidUTF8(s[:most], "")) + "…"
	}
	return s
}
