package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/router"
)

func explainCommand(w world) *cobra.Command {
	var (
		f       adminFlags
		headers []string
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "explain [METHOD] URL",
		Short: "Say how a request would be routed, and why",
		Long: `explain says which route, service and nodes would serve a request, which other
routes there are for its path, and why each of them would or would not. Nothing
is sent to a service.`,
		Example: `  goapi explain GET https://api.example.com/hello/john -H 'X-Canary: true'`,
		Args:    fromTo(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			method := http.MethodGet
			if len(args) == 2 {
				method = args[0]
			}
			c, err := f.client()
			if err != nil {
				return err
			}
			e, err := c.Explain(cmd.Context(), method, args[len(args)-1], headers)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(w.out, e)
			}
			return printExplanation(w.out, e)
		},
	}
	f.add(cmd, w)
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "header of the request, 'NAME: VALUE' (repeatable)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON instead of text")
	return cmd
}

func printExplanation(out io.Writer, e *admin.Explanation) error {
	switch {
	case e.Mount != nil:
		fmt.Fprintf(out, "The mount %s serves it, with the handler %s.\n", printable(e.Mount.Path), e.Mount.Handler)
		return printPolicies(out, e.Policies)
	case e.Service != "":
		fmt.Fprintf(out, "%s serves it, with the handler %s.\n", printable(served(e)), printable(e.Handler))
	}
	if e.Error != "" {
		fmt.Fprintf(out, "It is answered with %d: %s.\n", e.Status, printable(e.Error))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Variables)) {
		fmt.Fprintf(out, "Variable: %s = %q\n", printable(name), e.Variables[name])
	}
	if err := printPolicies(out, e.Policies); err != nil {
		return err
	}
	if len(e.Nodes) > 0 {
		if err := printExplainedNodes(out, e.Nodes); err != nil {
			return err
		}
	}
	return printCandidates(out, e)
}

// printPolicies prints what is laid on a request.
func printPolicies(out io.Writer, policies []admin.Applied) error {
	if len(policies) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nLaid on it:")
	t := newTable(out, "POLICY", "VALUE", "FROM")
	for _, a := range policies {
		t.row(a.Policy, a.Value, a.From)
	}
	return t.flush()
}

// origin says where the routes of a service come from.
func origin(service string) string {
	if config.Static(service) {
		return "configured"
	}
	return "announced"
}

// served says what serves a request.
func served(e *admin.Explanation) string {
	what := "Service " + e.Service
	if e.Endpoint != "" && e.Endpoint != e.Service {
		what = "Endpoint " + e.Endpoint + " of service " + e.Service
	}
	if e.Path != "" {
		what += ", " + origin(e.Service) + " for " + e.Path + ","
	}
	return what
}

// printExplainedNodes marks those that get the request.
func printExplainedNodes(out io.Writer, nodes []admin.ExplainedNode) error {
	fmt.Fprintln(out, "\nNodes, and which of them get such a request:")
	t := newTable(out, "", "NODE", "FOR", "SUCH REQUESTS", "ADDRESS", "PROTOCOL", "STATE", "WEIGHT", "IN FLIGHT", "LATENCY")
	for _, n := range nodes {
		t.row(mark(n.Percent > 0), n.ID, n.For, expects(n), n.Address, orDash(n.Protocol), stateOf(n.Node),
			strconv.FormatFloat(n.Weight, 'g', 3, 64), strconv.Itoa(n.InFlight), fmt.Sprintf("%.1f ms", n.LatencyMS))
	}
	return t.flush()
}

// expects says what a request can expect of a node.
func expects(n admin.ExplainedNode) string {
	switch {
	case n.Percent > 0:
		return strconv.FormatFloat(n.Percent, 'g', 4, 64) + "%"
	case n.Spare:
		return "if no other can"
	}
	return "none"
}

// mark is what stands before that which is chosen.
func mark(chosen bool) string {
	if chosen {
		return "*"
	}
	return ""
}

// printCandidates prints what there was to choose from.
func printCandidates(out io.Writer, e *admin.Explanation) error {
	if len(e.Candidates) > 0 {
		fmt.Fprintln(out, "\nRoutes for the path, in the order in which they are tried:")
		t := newTable(out, "", "METHOD", "HOST", "PATH", "SERVICE", "ENDPOINT", "WHY")
		for _, c := range e.Candidates {
			t.row(mark(c.Won), orAny(strings.Join(c.Methods, ",")), orAny(c.Host), c.Path, c.Service, c.Endpoint, c.Reason)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if e.More > 0 {
		fmt.Fprintf(out, "%d more are not listed.\n", e.More)
	}
	if len(e.Targets) == 0 {
		return nil
	}
	if len(e.Candidates) == 0 {
		fmt.Fprintln(out, "\nNo route is announced for the path. The resolver reads it as:")
	} else {
		fmt.Fprintln(out, "\nNone of them takes it. The resolver reads the path as:")
	}
	t := newTable(out, "", "SERVICE", "METHOD", "KIND", "WHY")
	for _, o := range e.Targets {
		t.row(mark(o.Won), o.Service, o.Method, o.Kind, o.Reason)
	}
	return t.flush()
}

func exposedCommand(w world) *cobra.Command {
	var (
		f      adminFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "exposed",
		Short: "List what the public can reach, and why",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			e, err := c.Exposed(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(w.out, e)
			}
			return printExposed(w.out, e)
		},
	}
	f.add(cmd, w)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON instead of a table")
	return cmd
}

func printExposed(out io.Writer, e *admin.Exposed) error {
	t := newTable(out, "METHOD", "HOST", "PATH", "SERVICE", "ENDPOINT", "WHY")
	for _, m := range e.Mounts {
		t.row("any", "any", m.Path+"/**", "-", "-", "mounted: "+m.Handler)
	}
	for _, rt := range e.Routes {
		t.row(orAny(strings.Join(rt.Methods, ",")), orAny(rt.Host), rt.Path, rt.Service, rt.Endpoint, origin(rt.Service)+": "+rt.Handler)
	}
	for _, r := range e.Resolved {
		t.row("-", "-", "-", r.Service, reached(r), "the resolver "+e.Resolver+" finds it")
	}
	if err := t.flush(); err != nil {
		return err
	}
	if len(e.Resolved) == 0 {
		return nil
	}
	for _, rt := range e.Routes {
		if takesAny(rt.Path) && rt.Host == "" {
			fmt.Fprintf(out, "\nRoutes go first: where %s of service %s matches, no service is looked for by the resolver.", rt.Path, rt.Service)
		}
	}
	_, err := fmt.Fprintln(out, "\nWith --resolver none, routes and mounts are all that is reached; expose=false in metadata hides a service or an endpoint.")
	return err
}

// takesAny says whether a path may begin with the name of any service.
func takesAny(path string) bool {
	return strings.HasPrefix(path, "/{") || strings.HasPrefix(path, "/*") || strings.HasPrefix(path, "^") && !strings.HasPrefix(path, "^/") ||
		strings.HasPrefix(path, "^/") && strings.IndexAny(path, "([.*+?{|\\") == len("^/")
}

// reached says what the resolver reaches of a service.
func reached(r router.Resolvable) string {
	parts := slices.Clone(r.Methods)
	if r.Any {
		parts = append(parts, "any method")
	}
	if r.Proxied {
		parts = append(parts, "any path")
	}
	return strings.Join(parts, ", ")
}
