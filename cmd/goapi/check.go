package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/ratelimit"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

func checkCommand(w world) *cobra.Command {
	var (
		f      adminFlags
		live   bool
		schema bool
	)
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration, and say what it would change",
		Long: `check reads a configuration as goapi run --config does, the environment included,
and says every mistake with its line. It starts nothing, and opens neither ports
nor connections: that somebody else has a port, or that a registry cannot be
reached, it cannot say.

With --live it lays the policies and routes of the file on the services that a
running gateway sees, and lists what would change there. What else the file says,
of listeners or of who has which key, is not compared.`,
		Example: `  goapi check goapi.yaml
  goapi check --live goapi.yaml
  goapi check --schema > goapi.schema.json   # for editors`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case schema && len(args) > 0:
				return errors.New("--schema prints the JSON Schema of all configurations: leave the file out")
			case !schema && (len(args) != 1 || args[0] == ""):
				return errors.New("name one configuration file: goapi check FILE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if schema {
				_, err := w.out.Write(config.Schema())
				return err
			}
			c, err := checked(args[0], w.env)
			if err != nil {
				return err
			}
			if !live {
				_, err := fmt.Fprintf(w.out, "%s is good.\n", printable(args[0]))
				return err
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			return checkLive(cmd.Context(), w.out, c, client)
		},
	}
	f.add(cmd, w)
	cmd.Flags().BoolVar(&live, "live", false, "compare with what the gateway at --admin serves")
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of the file instead")
	return cmd
}

// A checkedFile is a configuration that a gateway would start with.
type checkedFile struct {
	settings settings
	policies *config.Policies
}

// checked reads a configuration and finds out what is wrong with it, as far as
// that shows without opening anything.
func checked(name string, env func(string) (string, bool)) (*checkedFile, error) {
	var c settings
	flags := pflag.NewFlagSet("check", pflag.ContinueOnError)
	c.addListeners(flags, defaultAddress)
	c.addServer(flags, env)
	if err := setFromEnv(flags, env, func(flag string) bool { return flag != "config" }); err != nil {
		return nil, err
	}
	c.configFile = name
	if err := c.configure(flags, env); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, c.blame(err)
	}
	if _, err := newLogger(io.Discard, c.logLevel, c.logFormat); err != nil {
		return nil, c.blame(err)
	}
	g := &gateway{cfg: c, env: env, log: slog.New(slog.DiscardHandler)}
	for _, look := range []func() error{
		func() error { _, err := c.proxies(); return err },
		func() error { _, err := c.resolve(); return err },
		func() error { _, err := c.upstreamTLS(); return err },
		func() error { _, err := g.publicTLS(); return err },
	} {
		if err := look(); err != nil {
			return nil, c.blame(err)
		}
	}
	authenticators, err := g.authenticators(c.file, nil)
	if err != nil {
		return nil, err
	}
	plugins := g.plugins(authenticators, nil)
	plugins.Limiter = func(_ string, rate ratelimit.Rate, shared bool) (config.Limiter, error) {
		if _, ok := c.busURL(); shared && !ok {
			return nil, errNoBus()
		}
		return ratelimit.NewMemory(rate, nil), nil
	}
	if err := checkRoutes(c.file); err != nil {
		return nil, err
	}
	policies, err := config.New(c.file, plugins)
	if err != nil {
		return nil, err
	}
	return &checkedFile{c, policies}, nil
}

// checkRoutes returns which routes of a file a router would leave out: requests for
// them would go to routes that are less specific, with the policies of these.
func checkRoutes(file *config.File) error {
	services := file.Services()
	place := make(map[string]int, len(services))
	for i, s := range services {
		place[s.Name] = i
	}
	_, reports := router.NewTable(upstream.NewPools(nil), &router.Options{
		Handlers: routeHandlers(), Operator: config.Static,
	}).Next(services)
	errs := make([]error, len(services)) // in the order of the file
	for _, r := range reports {
		i := place[r.Service]
		key := fmt.Sprintf("routes[%d]", i)
		errs[i] = fmt.Errorf("%s: %s: it would not be routed: %s", file.Position(key), key, r.Reason)
	}
	return errors.Join(errs...)
}

// checkLive says what a configuration would change of what a gateway serves.
func checkLive(ctx context.Context, out io.Writer, c *checkedFile, client *admin.Client) error {
	now, err := client.Policies(ctx)
	if err != nil {
		return err
	}
	services, err := client.List(ctx)
	if err != nil {
		return err
	}
	services = slices.DeleteFunc(services, func(s *registry.Service) bool { return config.Static(s.Name) })
	next, reports := c.table(services)
	changes := differences(laidBy(now), laidBy(next))
	for _, line := range changes {
		fmt.Fprintln(out, line)
	}
	for _, r := range reports {
		if config.Static(r.Service) {
			fmt.Fprintln(out, "not routed:", printable(r.String()))
		}
	}
	if len(changes) == 0 {
		_, err = fmt.Fprintf(out, "%s would change nothing of the %d routes that are served.\n", printable(c.settings.configFile), len(now))
	}
	return err
}

// table returns what would be laid on the routes of services.
func (c *checkedFile) table(services []*registry.Service) ([]admin.RoutePolicies, []router.Report) {
	var list []admin.RoutePolicies
	for _, p := range c.policies.Patterns() {
		list = append(list, admin.RoutePolicies{Listing: router.Listing{Path: p.Match}, Policies: appliedOf(p.Applied)})
	}
	for _, m := range listMounts(c.settings.mounts) {
		list = append(list, admin.RoutePolicies{
			Listing: router.Listing{Handler: m.Handler, Path: m.Path + "/**"}, Policies: appliedOf(c.policies.Explain(m.Route(), nil)),
		})
	}
	own := make(map[string]bool)
	for _, s := range c.settings.file.Services() {
		own[s.Name] = true
		services = append(services, s)
	}
	table, reports := router.NewTable(upstream.NewPools(nil), &router.Options{
		Handlers: routeHandlers(), Operator: func(service string) bool { return own[service] },
	}).Next(services)
	for l, rt := range table.Served() {
		list = append(list, admin.RoutePolicies{Listing: l, Policies: appliedOf(c.policies.Explain(rt, nil))})
	}
	return list, reports
}

// laidBy returns what is laid on each route, by its name for people.
func laidBy(list []admin.RoutePolicies) map[string]map[string]string {
	routes := make(map[string]map[string]string, len(list))
	for _, rt := range list {
		name := fmt.Sprintf("%s %s%s of %s", orAny(strings.Join(rt.Methods, ",")), rt.Host, rt.Path, config.Renamed(rt.Service, 0))
		switch {
		case rt.Service == "" && rt.Handler == "":
			name = "pattern " + rt.Path
		case rt.Service == "":
			name = fmt.Sprintf("mount %s of %s", rt.Path, rt.Handler)
		}
		if config.Static(rt.Service) {
			slices.Sort(rt.Nodes)
			name += " at " + strings.Join(rt.Nodes, ", ")
		}
		policies := make(map[string]string, len(rt.Policies))
		for _, a := range rt.Policies {
			policies[a.Policy] = a.Value
		}
		routes[name] = policies
	}
	return routes
}

// differences returns a line for each route, and each policy of one, that comes,
// goes or changes.
func differences(now, next map[string]map[string]string) []string {
	var lines []string
	for name, policies := range next {
		was, ok := now[name]
		if !ok {
			lines = append(lines, "+ "+printable(name))
		}
		for policy, value := range policies {
			switch old, had := was[policy]; {
			case !had:
				lines = append(lines, fmt.Sprintf("+ %s: %s %s", printable(name), policy, printable(value)))
			case old != value:
				lines = append(lines, fmt.Sprintf("~ %s: %s %s, was %s", printable(name), policy, printable(value), printable(old)))
			}
		}
	}
	for name, policies := range now {
		left, ok := next[name]
		if !ok {
			lines = append(lines, "- "+printable(name))
			continue
		}
		for policy, value := range policies {
			if _, stays := left[policy]; !stays {
				lines = append(lines, fmt.Sprintf("- %s: %s %s", printable(name), policy, printable(value)))
			}
		}
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[2:], b[2:]) })
	return lines
}
