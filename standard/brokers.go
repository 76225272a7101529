package standard

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/micro"
	natsbroker "github.com/goapi-dev/goapi/broker/nats"
	"github.com/goapi-dev/goapi/nats"
)

// subscriberIdle is how long a connection to a subscriber is kept.
const subscriberIdle = 30 * time.Second

// Brokers returns the brokers by the scheme of their URL.
func Brokers(opts *Options) map[string]Plugin[broker.Broker] {
	o := opts.orDefault()
	overNATS := Plugin[broker.Broker]{func(ctx context.Context, u *url.URL) (broker.Broker, error) {
		return natsbroker.Open(ctx, u, &natsbroker.Options{Conns: o.Conns, Logger: o.Logger})
	}, natsbroker.CheckURL}
	return map[string]Plugin[broker.Broker]{
		"embedded":       overNATS,
		"embedded+micro": overNATS,
		"http+micro":     {o.openHTTP, micro.CheckHTTPURL},
		"memory": {func(_ context.Context, u *url.URL) (broker.Broker, error) {
			return new(broker.Memory), checkMemory(u)
		}, checkMemory},
		"nats":       overNATS,
		"nats+micro": overNATS,
		"tls":        overNATS,
		"tls+micro":  overNATS,
	}
}

// Expected returns what the broker of a URL will promise that cannot be reached yet;
// nothing for a URL that names none.
func Expected(rawURL string) broker.Capabilities {
	u, err := url.Parse(rawURL)
	if err != nil {
		return broker.Capabilities{}
	}
	caps, _ := natsbroker.Expected(u) // the others are never away when they are opened
	return caps
}

// openHTTP opens go-micro's HTTP broker.
func (o *Options) openHTTP(ctx context.Context, u *url.URL) (broker.Broker, error) {
	if o.Registry == nil {
		return nil, fmt.Errorf("%s: subscribers are found in a registry, and there is none", nats.Redact(u))
	}
	return micro.OpenHTTP(ctx, u, o.Registry, &micro.HTTPOptions{Client: o.subscribers(), Logger: o.Logger})
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
