package router

import (
	"errors"
	"slices"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// Static returns the table of fixed services, for gateways without a registry
// and for tests. What it cannot serve of them is an error; the table serves the
// rest.
func Static(services []*registry.Service, opts *Options) (*Table, error) {
	services = slices.DeleteFunc(slices.Clone(services), func(s *registry.Service) bool { return s == nil })
	t, reports := NewTable(upstream.NewPools(nil), opts).Next(services)
	errs := make([]error, len(reports))
	for i, r := range reports {
		errs[i] = errors.New("router: " + r.String())
	}
	return t, errors.Join(errs...)
}

// Check returns what a gateway with these options would not serve of what s
// announces, were it alone: what is wrong with it, for whoever announces it.
func Check(s *registry.Service, opts *Options) []Report {
	_, reports := NewTable(upstream.NewPools(nil), opts).Next([]*registry.Service{s})
	return reports
}
