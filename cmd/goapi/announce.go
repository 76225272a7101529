package main

import (
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

// routeHandlers are the names of the handlers that a gateway with a broker has
// for routes.
func routeHandlers() []string { return []string{"api", "cloudevents", "event", "http", "rpc", "web"} }

// ignored says what of an announcement gateways leave out.
func ignored(s *registry.Service) []string {
	var list []string
	for _, report := range router.Check(s, &router.Options{Handlers: routeHandlers()}) {
		list = append(list, report.String())
	}
	for _, n := range upstream.NewPools(nil).Update(s.Name, []*registry.Service{s}).All().Nodes() {
		for _, what := range n.Ignored {
			list = append(list, "metadata of node "+n.Node.ID+": "+what)
		}
	}
	for _, e := range s.Endpoints {
		if what := misread(s.Name, s.Nodes[0], e); what != "" {
			list = append(list, "endpoint "+e.Name+": "+what)
		}
	}
	return list
}

// misread says what an endpoint of a service's node asks of the broker that cannot
// be; "" for nothing. Which topics are listed, only the gateway knows.
func misread(service string, n *registry.Node, announced *registry.Endpoint) string {
	e, subscriber := goapi.DecodeEndpoint(announced), announced.Metadata["subscriber"] == "true"
	switch {
	case e.Metadata["push"] == "true" && !subscriber:
		return "push=true is for an endpoint with subscriber=true"
	case subscriber && e.Topic == "":
		return "a subscriber needs a topic"
	case e.Topic == "":
		return ""
	}
	if err := broker.CheckTopic(e.Topic); err != nil {
		return strings.TrimPrefix(err.Error(), "broker: ")
	}
	if !registry.IsPushedTo(n, announced) {
		return ""
	}
	if err := push.Check(service, n, e); err != nil {
		return err.Error()
	}
	return ""
}
