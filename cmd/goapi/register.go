package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/service"
)

// commandTime is what a command gets to end by itself.
const commandTime = 10 * time.Second

// registration is what goapi register was asked to announce.
type registration struct {
	name, version, address, protocol, id string
	endpoints, metadata                  []string
	ttl, linger                          time.Duration
}

func registerCommand(w world) *cobra.Command {
	var (
		f adminFlags
		r registration
	)
	cmd := &cobra.Command{
		Use:   "register --name NAME --address HOST:PORT [flags] [-- COMMAND [ARG…]]",
		Short: "Announce a service, in any language, for as long as it runs",
		Long: `register announces a service to the gateway and keeps the announcement alive
until it is interrupted; then it withdraws the service.

With a COMMAND it starts the service itself, announces it when its address
accepts connections, and withdraws it --linger before the command is stopped,
or when the command ends. It exits with the command's status.`,
		Example: `  goapi register --name hello --address 127.0.0.1:9000 \
    --endpoint 'Hello;method=GET;path=/hello' -- python3 examples/python/hello.py 9000`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := r.service()
			if err != nil {
				return err
			}
			c, err := f.client()
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(w.err, nil))
			for _, what := range ignored(s) {
				log.Warn("a gateway will not serve all of this: " + what)
			}
			a := announcement{service: s, ttl: r.ttl, linger: r.linger, writer: c, log: log}
			if len(args) == 0 {
				return a.run(cmd.Context())
			}
			return a.runWith(cmd.Context(), args, w)
		},
	}
	f.add(cmd, w)
	flags := cmd.Flags()
	flags.StringVar(&r.name, "name", "", "name of the service (required)")
	flags.StringVar(&r.address, "address", "", "where the service listens, host:port (required)")
	flags.StringVar(&r.version, "version", "latest", "version of the service")
	flags.StringVar(&r.protocol, "protocol", "http", "what the service speaks: http, grpc or mucp (go-micro's RPC)")
	flags.StringVar(&r.id, "id", "", "id of the node (default: the name and a random part)")
	flags.StringArrayVar(&r.endpoints, "endpoint", nil, "an endpoint: 'NAME;method=GET;path=/hello/{name}' (repeatable; keys: "+strings.Join(endpointKeys(), ", ")+")")
	flags.StringArrayVar(&r.metadata, "metadata", nil, "metadata of the node, key=value (repeatable)")
	flags.DurationVar(&r.ttl, "ttl", 30*time.Second, "the gateway forgets the service when it is not renewed for so long")
	flags.DurationVar(&r.linger, "linger", 250*time.Millisecond, "time that requests under way get between the withdrawal and the end of COMMAND")
	return cmd
}

// service returns what is announced.
func (r *registration) service() (*registry.Service, error) {
	if r.name == "" || r.address == "" {
		return nil, errors.New("register needs --name and --address")
	}
	if r.ttl < time.Second {
		return nil, fmt.Errorf("--ttl %s is too short: at least 1s", r.ttl)
	}
	if !slices.Contains([]string{"http", "grpc", "mucp"}, r.protocol) {
		return nil, fmt.Errorf("--protocol %q: want http, grpc or mucp", r.protocol)
	}
	address := r.address
	if strings.HasPrefix(address, ":") {
		address = "127.0.0.1" + address
	}
	id := r.id
	if id == "" {
		id = r.name + "-" + strings.ToLower(rand.Text())
	}
	node := &registry.Node{ID: id, Address: address, Metadata: map[string]string{"protocol": r.protocol}}
	for _, pair := range r.metadata {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--metadata %q: want key=value", pair)
		}
		node.Metadata[key] = value
	}
	s := &registry.Service{Name: r.name, Version: r.version, Nodes: []*registry.Node{node}}
	for _, spec := range r.endpoints {
		e, err := parseEndpoint(spec, r.protocol)
		if err != nil {
			return nil, err
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return s, nil
}

// announcement is a service that is kept announced.
type announcement struct {
	service *registry.Service
	ttl     time.Duration
	linger  time.Duration
	writer  registry.Writer
	log     *slog.Logger
}

// run announces until ctx is done, and withdraws.
func (a *announcement) run(ctx context.Context) error {
	return service.Announce(ctx, a.writer, a.service, &service.AnnounceOptions{TTL: a.ttl, Logger: a.log})
}

// runWith starts a command, announces the service while the command runs, and
// returns when both have ended.
func (a *announcement) runWith(ctx context.Context, args []string, w world) error {
	// The command outlives ctx: it is stopped when the service is withdrawn.
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec,noctx // running it is what the user asked for; see above
	cmd.Stdout, cmd.Stderr = w.out, w.err
	detach(cmd) // a Ctrl-C in the terminal is for us; the command is stopped after the withdrawal
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", args[0], err)
	}
	announced, withdraw := context.WithCancel(ctx)
	defer withdraw()
	var status error
	exited := make(chan struct{}) // closed when status is known
	go func() {
		status = cmd.Wait()
		close(exited)
		withdraw()
	}()

	err := a.waitAndRun(announced)
	select {
	case <-exited:
	case <-time.After(a.linger): // a command may cut off what it serves when it is told to end
	}
	late := time.AfterFunc(commandTime, func() { kill(cmd) })
	defer late.Stop()
	terminate(cmd)
	<-exited

	var exit *exec.ExitError
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return nil // we ended it
	case errors.As(status, &exit) && exit.ExitCode() > 0:
		return exitError(exit.ExitCode())
	case status != nil:
		return fmt.Errorf("%s: %w", args[0], status)
	}
	return nil
}

// silence is how long nobody may listen before that is said.
const silence = 3 * time.Second

// waitAndRun announces the service when its address accepts connections.
func (a *announcement) waitAndRun(ctx context.Context) error {
	address := a.service.Nodes[0].Address
	silent := time.AfterFunc(silence, func() {
		a.log.Warn("nothing listens at the address yet; the service is announced as soon as something does", "service", a.service.Name, "address", address)
	})
	defer silent.Stop()
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		d := net.Dialer{Timeout: time.Second}
		conn, err := d.DialContext(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close() // it only proved that somebody listens
			silent.Stop()
			return a.run(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}
