package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"github.com/goapi-dev/goapi/standard"
)

// A discoveryBench measures how soon the gateway serves a change, in each of
// the registries.
type discoveryBench struct {
	only     string
	consul   string
	services int
	changes  int
}

func (b *discoveryBench) flags(f *flag.FlagSet) {
	f.StringVar(&b.only, "only", b.only, "the registries that are measured, by the beginnings of their names, with commas between; empty for all")
	f.StringVar(&b.consul, "consul", consulProgram(), "the program of Consul, whose agent is measured")
	f.IntVar(&b.services, "services", 1000, "services that are announced beside")
	f.IntVar(&b.changes, "changes", 1000, "services that come and go, one by one")
}

func (b *discoveryBench) run(ctx context.Context, out io.Writer) error {
	if b.services < 0 || b.changes < 1 {
		return errors.New("-changes is at least 1, -services at least 0")
	}
	chosen := b.choose(stores(b.consul))
	if len(chosen) == 0 {
		return fmt.Errorf("-only %q names none of the registries", b.only)
	}
	fmt.Fprintf(out, "\nChange to request: %d changes beside %d services, %s\n\n", b.changes, b.services, machine())
	fmt.Fprintln(out, "| from → to, ms | the write | first request routed | p99 | no request any more | p99 | at most |")
	fmt.Fprintln(out, "|---|---:|---:|---:|---:|---:|---:|")
	for _, s := range chosen {
		m, err := b.measure(ctx, s)
		if missing, ok := errors.AsType[*missingError](err); ok {
			fmt.Fprintf(out, "| %s | not measured: %s | | | | | |\n", s.name, missing.how)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		printRow(out, s, m)
	}
	return nil
}

// choose returns the stores that -only names.
func (b *discoveryBench) choose(all []store) []store {
	return slices.DeleteFunc(all, func(s store) bool {
		return !slices.ContainsFunc(strings.Split(b.only, ","), func(prefix string) bool { return strings.HasPrefix(s.name, prefix) })
	})
}

// printRow writes the row of a store: medians and p99.
func printRow(out io.Writer, s store, m *changes) {
	ms := func(took []time.Duration, q float64) float64 { return float64(quantile(took, q).Microseconds()) / 1e3 }
	fmt.Fprintf(out, "| %s | %.1f | %.1f | %.1f | %.1f | %.1f | %d |\n", s.name, ms(m.wrote, 0.5),
		ms(m.came, 0.5), ms(m.came, 0.99), ms(m.went, 0.5), ms(m.went, 0.99), s.most.Milliseconds())
}

// measure measures a store, here or in a network of its own.
func (b *discoveryBench) measure(ctx context.Context, s store) (*changes, error) {
	if !s.alone {
		return b.here(ctx, s)
	}
	answer, err := inNamespace(ctx, aloneCommand, "-only", s.name, "-services", fmt.Sprint(b.services), "-changes", fmt.Sprint(b.changes))
	if err != nil {
		return nil, err
	}
	var told told
	if err := json.Unmarshal(answer, &told); err != nil {
		return nil, fmt.Errorf("what was measured in the namespace: %w", err)
	}
	return &changes{came: told.Came, went: told.Went, wrote: told.Wrote}, nil
}

// here measures a store in this network.
func (b *discoveryBench) here(ctx context.Context, s store) (m *changes, err error) {
	l, err := newLab()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	started, err := s.start(ctx, l)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	g, err := runGoapi(ctx, l, anyCore, address, append([]string{"--registry", started.url}, started.flags...)...)
	if err != nil {
		return nil, err
	}
	writer, err := started.open(ctx, g)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, standard.Close(writer)) }()
	origin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer origin.Close()

	m = &changes{writer: writer, client: g.client, public: "http://" + address, node: origin.Listener.Addr().String()}
	if err := m.fill(ctx, b.services); err != nil {
		return nil, err
	}
	for i := range b.changes {
		if err := m.comeAndGo(ctx, i); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// aloneCommand is the subcommand that measures a store in a network of its own;
// discovery calls it.
const aloneCommand = "discovery-alone"

// told is what it tells.
type told struct{ Came, Went, Wrote []time.Duration }

// measureAlone sets up the network of this process, and measures a store there.
func measureAlone(ctx context.Context, args []string, out io.Writer) error {
	var b discoveryBench
	flags := flag.NewFlagSet("bench "+aloneCommand, flag.ContinueOnError)
	b.flags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := loopback(); err != nil {
		return fmt.Errorf("the loopback of the namespace: %w", err)
	}
	m, err := b.here(ctx, b.choose(stores(""))[0])
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(told{m.came, m.went, m.wrote})
}

// A missingError says what a measurement lacks, and how to get it.
type missingError struct{ how string }

// Error implements error.
func (e *missingError) Error() string { return e.how }
