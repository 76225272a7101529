package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/push"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/standard"
)

// brokerOff is --broker for none.
const brokerOff = "off"

// brokerURL returns --broker: by default the embedded bus where a registry is
// embedded, so that none is started for the sake of events alone.
func (c *settings) brokerURL() string {
	switch {
	case c.broker == brokerOff:
		return ""
	case c.broker != "":
		return c.broker
	case anyEmbedded(c.registries...):
		return "embedded:"
	}
	return ""
}

// checkEvents returns what the flags about events say that cannot be.
func (c *settings) checkEvents() error {
	mounts, err := parseMounts(c.mounts)
	if err != nil {
		return err
	}
	if len(mounts) > 0 && c.brokerURL() == "" {
		return fmt.Errorf("--mount %s=%s needs a broker: give one with --broker URL", mounts[0].path, mounts[0].handler)
	}
	lists := []struct {
		flag   string
		topics []string
	}{{"publish", c.publish}, {"subscribe", c.subscribe}, {"push", c.push}}
	for _, l := range lists {
		for _, topic := range l.topics {
			if strings.Contains(topic, ",") {
				return fmt.Errorf("--%s %q: a topic here has no comma; repeat the flag for several", l.flag, topic)
			}
			if err := broker.CheckPattern(topic); err != nil {
				return fmt.Errorf("--%s: %s", l.flag, strings.TrimPrefix(err.Error(), "broker: "))
			}
		}
		if len(l.topics) > 0 && c.brokerURL() == "" {
			return fmt.Errorf("--%s %s needs a broker: give one with --broker URL", l.flag, l.topics[0])
		}
	}
	return nil
}

// openBroker opens the broker that --broker names, now or when it can be reached:
// nil for none.
func (g *gateway) openBroker(ctx context.Context, reg registry.Registry, n *nodes) (broker.Broker, error) {
	rawURL := g.cfg.brokerURL()
	if rawURL == "" {
		return nil, nil //nolint:nilnil // there need not be one
	}
	known := standard.Brokers(&standard.Options{Conns: g.conns, Registry: reg, TLS: n.opts.TLS, DialContext: n.opts.DialContext, Logger: g.log})
	name := slog.String("broker", standard.Redact(rawURL))
	open := func(ctx context.Context) (broker.Broker, error) {
		b, err := standard.Open(ctx, known, rawURL)
		if err != nil {
			return nil, err
		}
		if missing := b.Capabilities().Missing(); len(missing) > 0 {
			g.log.Warn("the broker does not promise everything", name, slog.String("missing", strings.Join(missing, "; ")))
		}
		return b, nil
	}
	b, err := open(ctx)
	switch {
	case errors.Is(err, broker.ErrUnavailable) && ctx.Err() == nil:
		g.log.Warn("broker cannot be reached; it is tried again, and who needs it meanwhile is answered with 503", name, slog.Any("error", err))
		lazy := broker.NewLazy(func(ctx context.Context) (broker.Broker, error) {
			b, err := open(ctx)
			if err == nil {
				g.log.Info("broker found", name)
			}
			return b, err
		}, standard.Expected(rawURL), err)
		g.background = append(g.background, lazy.Run)
		b = lazy
	case err != nil:
		return nil, fmt.Errorf("--broker: %w", err)
	}
	g.onClose(func() error { return standard.Close(b) })
	return b, nil
}

// publishing says how requests are published: only on topics that --publish
// lists.
func (g *gateway) publishing(namespace string, header handler.BrokerHeader) handler.PublishOptions {
	return handler.PublishOptions{Namespace: namespace, Topics: listed(g.cfg.publish), Header: header, Origins: listed(g.cfg.origins), TrustedProxies: g.proxies}
}

// listed returns patterns, of which none allow nothing and nobody.
func listed(patterns []string) []string {
	if patterns == nil {
		return []string{}
	}
	return patterns
}

// mounts returns the handlers of --mount.
func (g *gateway) mounts(b broker.Broker) ([]mounted, error) {
	mounts, err := parseMounts(g.cfg.mounts)
	if err != nil {
		return nil, err
	}
	var handlers []mounted
	for _, m := range mounts {
		handlers = append(handlers, mounted{admin.Mount{Path: m.path, Handler: m.handler}, g.mountHandler(m, b)})
		if len(g.cfg.publish) == 0 && (m.handler != "broker" || len(g.cfg.subscribe) == 0) {
			g.log.Warn("a mount refuses everything until topics are listed", slog.String("mount", m.path), slog.String("see", "--publish, --subscribe"))
		}
	}
	if len(g.cfg.subscribe) > 0 && !slices.ContainsFunc(mounts, func(m mount) bool { return m.handler == "broker" }) {
		g.log.Warn("--subscribe lists topics that nobody can receive: there is no mount of the handler broker", slog.String("see", "--mount"))
	}
	return handlers, nil
}

// listMounts returns --mount as operators see it.
func listMounts(flags []string) []admin.Mount {
	mounts, _ := parseMounts(flags) // checkEvents has seen to it
	var list []admin.Mount
	for _, m := range mounts {
		list = append(list, admin.Mount{Path: m.path, Handler: m.handler})
	}
	return list
}

// mountHandler returns what serves a mount.
func (g *gateway) mountHandler(m mount, b broker.Broker) http.Handler {
	format, _ := m.format() // parseMount has seen to it
	publishing := g.publishing(m.options.Get("namespace"), m.header())
	switch m.handler {
	case "event":
		return handler.Event(b, &handler.EventOptions{Publish: publishing, Protobuf: format.protobuf})
	case "cloudevents":
		rate, _ := m.webhookRate() // parseMount has seen to it
		return handler.CloudEvents(b, &handler.CloudEventsOptions{
			Publish: publishing, Mode: format.mode,
			WebhookOrigins: m.options["webhook_origin"], WebhookRate: rate,
		})
	}
	return handler.Broker(b, &handler.BrokerOptions{
		Publish: g.cfg.publish, Subscribe: g.cfg.subscribe, Groups: m.options["group"], Header: m.header(),
		TrustedProxies: g.proxies, Origins: g.cfg.origins, Done: g.stopping,
	})
}

// adminBroker returns the broker as operators have it: everything is theirs.
func (g *gateway) adminBroker(b broker.Broker) http.Handler {
	if b == nil {
		return goapi.HandlerFunc(noBroker)
	}
	all := []string{"**", push.DefaultDeadLetters}
	return handler.Broker(b, &handler.BrokerOptions{Publish: all, Subscribe: all, Groups: []string{"**"}, Done: g.drained})
}

// newPusher returns what pushes messages to services, nil without a broker.
func (g *gateway) newPusher(b broker.Broker, n *nodes) *push.Pusher {
	if b == nil {
		return nil
	}
	return push.New(b, g.live, g.pools, &push.Options{
		Topics: g.cfg.push, TLS: n.opts.TLS, DialContext: n.opts.DialContext, Logger: g.log,
	})
}

// deadLetters serves what could not be pushed, to operators.
func (g *gateway) deadLetters() http.Handler {
	if g.pusher == nil {
		return goapi.HandlerFunc(noBroker)
	}
	return g.pusher.Handler()
}

// noBroker answers operators who ask for what needs one.
func noBroker(http.ResponseWriter, *http.Request) error {
	return goapi.NewError(http.StatusNotFound, "this gateway has no broker: start it with --broker URL", nil)
}
