package standard

import (
	"context"
	"errors"
	"net/url"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/consul"
	"github.com/goapi-dev/goapi/registry/etcd"
	"github.com/goapi-dev/goapi/registry/file"
	"github.com/goapi-dev/goapi/registry/mdns"
	"github.com/goapi-dev/goapi/registry/micro"
	natsregistry "github.com/goapi-dev/goapi/registry/nats"
)

// Registries returns the constructors of registries by the scheme of their URL.
func Registries(opts *Options) map[string]OpenFunc[registry.Registry] {
	o := opts.orDefault()
	jetstream := func(ctx context.Context, u *url.URL) (registry.Registry, error) {
		return natsregistry.Open(ctx, u, &natsregistry.Options{Conns: o.Conns, Logger: o.Logger})
	}
	overNATS := func(ctx context.Context, u *url.URL) (registry.Registry, error) {
		return micro.Open(ctx, u, &micro.Options{Conns: o.Conns, Logger: o.Logger})
	}
	inEtcd := func(ctx context.Context, u *url.URL) (registry.Registry, error) {
		return etcd.Open(ctx, u, &etcd.Options{Logger: o.Logger})
	}
	inConsul := func(ctx context.Context, u *url.URL) (registry.Registry, error) {
		return consul.Open(ctx, u, &consul.Options{Logger: o.Logger})
	}
	return map[string]OpenFunc[registry.Registry]{
		"consul":         inConsul,
		"consuls":        inConsul,
		"embedded":       jetstream,
		"embedded+micro": overNATS,
		"etcd":           inEtcd,
		"etcds":          inEtcd,
		"file": func(ctx context.Context, u *url.URL) (registry.Registry, error) {
			return file.Open(ctx, u, &file.Options{Logger: o.Logger})
		},
		"mdns": func(ctx context.Context, u *url.URL) (registry.Registry, error) {
			return mdns.Open(ctx, u, &mdns.Options{Logger: o.Logger})
		},
		"memory":     openMemory,
		"nats":       jetstream,
		"nats+micro": overNATS,
		"tls":        jetstream,
		"tls+micro":  overNATS,
	}
}

func openMemory(_ context.Context, u *url.URL) (registry.Registry, error) {
	if !isBare(u) {
		return nil, errors.New("a memory registry takes no address and no parameters: write memory: and no more")
	}
	return new(registry.Memory), nil
}
