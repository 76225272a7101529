package standard

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/micro"
	natsbroker "github.com/goapi-dev/goapi/broker/nats"
)

// subscriberIdle is how long a connection to a subscriber is kept.
const subscriberIdle = 30 * time.Second

// Brokers returns the constructors of brokers by the scheme of their URL.
func Brokers(opts *Options) map[string]OpenFunc[broker.Broker] {
	o := opts.orDefault()
	overNATS := func(ctx context.Context, u *url.URL) (broker.Broker, error) {
		return natsbroker.Open(ctx, u, &natsbroker.Options{Conns: o.Conns, Logger: o.Logger})
	}
	known := map[string]OpenFunc[broker.Broker]{
		"embedded":       overNATS,
		"embedded+micro": overNATS,
		"nats":           overNATS,
		"nats+micro":     overNATS,
		"tls":            overNATS,
		"tls+micro":      overNATS,
		"memory":         openMemoryBroker,
	}
	if o.Registry != nil {
		known["http+micro"] = func(ctx context.Context, u *url.URL) (broker.Broker, error) {
			return micro.OpenHTTP(ctx, u, o.Registry, &micro.HTTPOptions{Client: o.subscribers(), Logger: o.Logger})
		}
	}
	return known
}

func openMemoryBroker(_ context.Context, u *url.URL) (broker.Broker, error) {
	if !isBare(u) {
		return nil, errors.New("a broker in memory takes no address and no parameters: write memory: and no more")
	}
	return new(broker.Memory), nil
}

// subscribers returns what posts to subscribers that a registry names; nil is
// the broker's own.
func (o *Options) subscribers() *http.Client {
	if o.TLS == nil && o.DialContext == nil {
		return nil
	}
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: o.TLS, DialContext: o.DialContext, IdleConnTimeout: subscriberIdle},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
