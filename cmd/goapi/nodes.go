package main

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/client/grpc"
	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/standard"
	"github.com/goapi-dev/goapi/upstream"
)

// probeIdle is how long the connection of a probe is kept: until the next.
const probeIdle = 30 * time.Second

// nodes is how the gateway reaches nodes, in each protocol.
type nodes struct {
	opts  client.Options
	micro *client.Micro
	grpc  *grpc.Caller
	http  *http.Transport // for probes
}

// nodes returns what reaches nodes, and closes it with the gateway.
func (g *gateway) nodes() (*nodes, error) {
	tlsConf, err := g.cfg.upstreamTLS()
	if err != nil {
		return nil, err
	}
	opts := client.Options{TLS: tlsConf, DialContext: g.dialer().DialContext}
	n := &nodes{
		opts: opts, micro: client.NewMicro(&opts), grpc: grpc.New(&grpc.Options{Options: opts}),
		http: &http.Transport{TLSClientConfig: tlsConf, DialContext: opts.DialContext, IdleConnTimeout: probeIdle},
	}
	g.onClose(n.micro.Close)
	g.onClose(n.grpc.Close)
	g.onClose(func() error { n.http.CloseIdleConnections(); return nil })
	return n, nil
}

// dialer returns what connects to nodes: never to the gateway itself.
func (g *gateway) dialer() *net.Dialer {
	guard := new(upstream.Guard)
	own := []string{g.public.Addr().String(), g.admin.Addr().String()}
	if g.plain != nil {
		own = append(own, g.plain.Addr().String())
	}
	if g.embedded != nil {
		own = append(own, g.embedded.Addr())
	}
	for _, address := range own {
		if ap, err := netip.ParseAddrPort(address); err == nil { // the bus has no address when it is off
			guard.Listeners = append(guard.Listeners, ap)
		}
	}
	return &net.Dialer{Timeout: connectTimeout, ControlContext: guard.Control}
}

// caller calls methods in the protocol of a node.
func (n *nodes) caller() client.ByProtocol {
	return client.ByProtocol{client.ProtocolMicro: n.micro, client.ProtocolGRPC: n.grpc}
}

// newHandlers returns those that serve routes.
func (g *gateway) newHandlers(n *nodes, bus broker.Broker) map[string]http.Handler {
	limits := g.cfg.file.Limits
	if limits == nil {
		limits = new(config.Limits)
	}
	idle := time.Duration(limits.StreamIdle)
	relay := handler.GRPC(&handler.GRPCOptions{TLS: n.opts.TLS, DialContext: n.opts.DialContext, TrustedProxies: g.proxies, Idle: idle})
	streams := handler.StreamOptions{
		Origins: g.cfg.origins, Done: g.stopping, Idle: idle, Total: time.Duration(limits.StreamTotal), MaxStreams: limits.Streams,
	}
	forward := handler.HTTPOptions{TLS: n.opts.TLS, DialContext: n.opts.DialContext, TrustedProxies: g.proxies, Idle: idle}
	handlers := map[string]http.Handler{
		"api":  handler.API(n.caller(), &handler.APIOptions{TrustedProxies: g.proxies, Protobuf: g.cfg.apiFormat == formatProtobuf}),
		"rpc":  handler.RPC(n.caller(), &handler.RPCOptions{TrustedProxies: g.proxies, GRPC: relay, Streams: streams}),
		"http": handler.HTTP(&forward),
		"web":  handler.Web(&handler.WebOptions{HTTP: forward, Origins: g.cfg.origins, MaxConnections: limits.Streams}),
	}
	if bus != nil {
		publishing := g.publishing("", handler.BrokerHeader{})
		handlers["event"] = handler.Event(bus, &handler.EventOptions{Publish: publishing})
		handlers["cloudevents"] = handler.CloudEvents(bus, &handler.CloudEventsOptions{Publish: publishing})
	}
	for _, h := range []http.Handler{relay, handlers["http"], handlers["web"]} { // they keep connections
		g.onClose(func() error { return standard.Close(h) })
	}
	return handlers
}

// probe returns how the nodes of services are probed, as health_check has it.
func (g *gateway) probe(n *nodes) func(string) *upstream.Probe {
	return func(service string) *upstream.Probe {
		check := g.current.Load().policies.HealthCheck(service)
		switch path, isHTTP := strings.CutPrefix(check, "http:"); {
		case isHTTP:
			return &upstream.Probe{Prober: upstream.ProbeHTTP(n.http, func(node *registry.Node) string {
				return scheme(node) + "://" + node.Address + path
			})}
		case check == "grpc":
			return &upstream.Probe{Prober: n.grpc.Health}
		case check == "tcp":
			return &upstream.Probe{Prober: upstream.ProbeTCP(n.opts.DialContext)}
		}
		return nil
	}
}

// servicePolicy returns what holds for the nodes of a service where no route says.
func (g *gateway) servicePolicy(service string) *upstream.Policy {
	return g.current.Load().policies.Upstream(service)
}

// scheme returns how a node is spoken to over HTTP.
func scheme(n *registry.Node) string {
	if client.Secure(n) {
		return "https"
	}
	return "http"
}
