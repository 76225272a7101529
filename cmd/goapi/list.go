package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/goapi-dev/goapi/admin"
)

// adminFlags say where the gateway's admin API is.
type adminFlags struct {
	address   string
	tokenFile string
	token     string // from GOAPI_ADMIN_TOKEN
}

func (f *adminFlags) add(cmd *cobra.Command, w world) {
	cmd.Flags().StringVar(&f.address, "admin", defaultAdmin, "admin address of the gateway, host:port or URL")
	cmd.Flags().StringVar(&f.tokenFile, "admin-token-file", "", "file whose first line is the admin token (or set GOAPI_ADMIN_TOKEN)")
	f.token, _ = w.env("GOAPI_ADMIN_TOKEN")
}

func (f *adminFlags) client() (*admin.Client, error) {
	token, err := readSecret("admin-token-file", f.tokenFile)
	if err != nil {
		return nil, err
	}
	if token == "" {
		token = f.token
	}
	return admin.NewClient(f.address, token), nil
}

func servicesCommand(w world) *cobra.Command {
	var (
		f      adminFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "services",
		Short: "List the services that the gateway sees, with their nodes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			services, err := c.Services(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(w.out, services)
			}
			return printServices(w.out, services)
		},
	}
	f.add(cmd, w)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON instead of a table")
	return cmd
}

func printServices(out io.Writer, services []admin.Service) error {
	if len(services) == 0 {
		_, err := fmt.Fprintln(out, "No service is registered.")
		return err
	}
	t := newTable(out, "SERVICE", "VERSION", "NODE", "ADDRESS", "PROTOCOL", "STATE", "WEIGHT", "IN FLIGHT", "LATENCY")
	for _, s := range services {
		if len(s.Nodes) == 0 {
			t.row(s.Name, s.Version, "none")
		}
		for _, n := range s.Nodes {
			t.row(s.Name, s.Version, n.ID, n.Address, orDash(n.Protocol), stateOf(n),
				strconv.FormatFloat(n.Weight, 'g', 3, 64), strconv.Itoa(n.InFlight), fmt.Sprintf("%.1f ms", n.LatencyMS))
		}
	}
	for _, s := range services {
		for _, n := range s.Nodes {
			for _, what := range n.Ignored {
				fmt.Fprintf(t.w, "ignored of node %s: %s\n", printable(n.ID), printable(what)) // flush returns the error
			}
		}
	}
	return t.flush()
}

// stateOf returns the state of a node, and why it is not up.
func stateOf(n admin.Node) string {
	if n.Reason != "" {
		return n.State + ": " + n.Reason
	}
	return n.State
}

func routesCommand(w world) *cobra.Command {
	var (
		f      adminFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "routes",
		Short: "List the routes that services announced, and what was left out",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			routes, err := c.Routes(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(w.out, routes)
			}
			return printRoutes(w.out, routes)
		},
	}
	f.add(cmd, w)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON instead of a table")
	return cmd
}

func printRoutes(out io.Writer, r *admin.Routes) error {
	if r.Registry.Error != "" {
		fmt.Fprintf(out, "The registry cannot be followed (%s); this is its state of %s.\n\n", r.Registry.Error, r.Registry.Updated.Local().Format("15:04:05"))
	}
	for _, m := range r.Registry.Members {
		if !m.Ready {
			fmt.Fprintf(out, "Registry %s cannot be followed since %s.\n\n", m.Name, m.Since.Local().Format("15:04:05"))
		}
	}
	if len(r.Routes) == 0 {
		fmt.Fprintln(out, "No route is announced.")
	} else {
		t := newTable(out, "METHOD", "HOST", "PATH", "HANDLER", "SERVICE", "ENDPOINT", "NODES")
		for _, rt := range r.Routes {
			t.row(orAny(strings.Join(rt.Methods, ",")), orAny(rt.Host), rt.Path, rt.Handler, rt.Service, rt.Endpoint, strconv.Itoa(len(rt.Nodes)))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if len(r.Reports) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nNot served as announced:")
	t := newTable(out, "WHAT", "SERVICE", "ENDPOINT OR NODE", "PATTERN", "REASON")
	for _, rep := range r.Reports {
		t.row(string(rep.Kind), orDash(rep.Service), orDash(rep.Endpoint+rep.Node), orDash(rep.Pattern), rep.Reason)
	}
	return t.flush()
}

func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table prints rows in columns. What services announced is shown without
// control characters: it must not be able to write to a terminal.
type table struct{ w *tabwriter.Writer }

func newTable(out io.Writer, heads ...string) table {
	t := table{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	t.row(heads...)
	return t
}

func (t table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t")) // flush returns the error
}

func (t table) flush() error { return t.w.Flush() }

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func orAny(s string) string {
	if s == "" {
		return "any"
	}
	return s
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
