package standard

import (
	"context"
	"net/url"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/consul"
	"github.com/goapi-dev/goapi/registry/etcd"
	"github.com/goapi-dev/goapi/registry/file"
	"github.com/goapi-dev/goapi/registry/mdns"
	"github.com/goapi-dev/goapi/registry/micro"
	natsregistry "github.com/goapi-dev/goapi/registry/nats"
)

// Registries returns the registries by the scheme of their URL.
func Registries(opts *Options) map[string]Plugin[registry.Registry] {
	o := opts.orDefault()
	jetstream := Plugin[registry.Registry]{func(ctx context.Context, u *url.URL) (registry.Registry, error) {
		return natsregistry.Open(ctx, u, &natsregistry.Options{Conns: o.Conns, Logger: o.Logger})
	}, natsregistry.CheckURL}
	overNATS := Plugin[registry.Registry]{func(ctx context.Context, u *url.URL) (registry.Registry, error) {
		return micro.Open(ctx, u, &micro.Options{Conns: o.Conns, Logger: o.Logger})
	}, micro.CheckURL}
	inEtcd := Plugin[registry.Registry]{func(ctx context.Context, u *url.URL) (registry.Registry, error) {
		return etcd.Open(ctx, u, &etcd.Options{Logger: o.Logger})
	}, etcd.CheckURL}
	inConsul := Plugin[registry.Registry]{func(ctx context.Context, u *url.URL) (registry.Registry, error) {
		return consul.Open(ctx, u, &consul.Options{Logger: o.Logger})
	}, consul.CheckURL}
	return map[string]Plugin[registry.Registry]{
		"consul":         inConsul,
		"consuls":        inConsul,
		"embedded":       jetstream,
		"embedded+micro": overNATS,
		"etcd":           inEtcd,
		"etcds":          inEtcd,
		"file": {func(ctx context.Context, u *url.URL) (registry.Registry, error) {
			return file.Open(ctx, u, &file.Options{Logger: o.Logger})
		}, file.CheckURL},
		"mdns": {func(ctx context.Context, u *url.URL) (registry.Registry, error) {
			return mdns.Open(ctx, u, &mdns.Options{Logger: o.Logger})
		}, mdns.CheckURL},
		"memory": {func(_ context.Context, u *url.URL) (registry.Registry, error) {
			return new(registry.Memory), checkMemory(u)
		}, checkMemory},
		"nats":       jetstream,
		"nats+micro": overNATS,
		"tls":        jetstream,
		"tls+micro":  overNATS,
	}
}
