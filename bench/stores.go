package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/standard"
)

// A store is a registry that is measured.
type store struct {
	name  string
	most  time.Duration // that a change may take, 99 times of 100
	alone bool          // it needs a network of its own
	start func(ctx context.Context, l *lab) (*started, error)
}

// started is a store that runs.
type started struct {
	url   string   // what the gateway follows
	flags []string // that the gateway needs besides
	aside string   // the same store, where the gateway does not look; "" if there is no such place
	// open returns who announces services in it: another than the gateway. The
	// caller closes it, if it is an io.Closer.
	open func(ctx context.Context, g *gateway) (registry.Writer, error)
}

// overAdminName is the store that the subcommand register measures.
const overAdminName = "embedded NATS over the admin API"

const (
	most     = 20 * time.Millisecond
	mostMDNS = 250 * time.Millisecond
)

// stores returns what is measured, in order.
func stores(consul string) []store {
	return []store{
		{name: overAdminName, most: most, start: startEmbeddedAdmin},
		{name: "embedded NATS", most: most, start: startEmbedded},
		{name: "NATS", most: most, start: func(ctx context.Context, l *lab) (*started, error) { return startNATS(ctx, l, "nats") }},
		{name: "etcd", most: most, start: startEtcd},
		{name: "Consul", most: most, start: func(ctx context.Context, l *lab) (*started, error) { return startConsul(ctx, l, consul) }},
		{name: "file", most: most, start: startFile},
		{name: "mDNS", most: mostMDNS, alone: true, start: startMDNS},
		{name: "nats+micro", most: most, start: func(ctx context.Context, l *lab) (*started, error) { return startNATS(ctx, l, "nats+micro") }},
	}
}

// overURL opens a registry as the gateway does.
func overURL(url string) func(context.Context, *gateway) (registry.Writer, error) {
	return func(ctx context.Context, _ *gateway) (registry.Writer, error) {
		return standard.Open(ctx, standard.Registries(nil), url)
	}
}

func startEmbeddedAdmin(context.Context, *lab) (*started, error) {
	return &started{url: "embedded:", open: func(_ context.Context, g *gateway) (registry.Writer, error) { return overAdmin{g}, nil }}, nil
}

func startEmbedded(ctx context.Context, _ *lab) (*started, error) {
	bus, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	return &started{url: "embedded:", flags: []string{"--nats", bus}, open: overURL("nats://" + bus)}, nil
}

func startMDNS(context.Context, *lab) (*started, error) {
	return &started{url: "mdns:", open: overURL("mdns:")}, nil
}

// startNATS starts a server in a process of its own.
func startNATS(ctx context.Context, l *lab, scheme string) (*started, error) {
	address, err := startServer(ctx, l, natsCommand)
	if err != nil {
		return nil, err
	}
	url := scheme + "://" + address
	return &started{url: url, aside: url + "?bucket=aside", open: overURL(url)}, nil
}

// startEtcd starts a server in a process of its own.
func startEtcd(ctx context.Context, l *lab) (*started, error) {
	address, err := startServer(ctx, l, etcdCommand)
	if err != nil {
		return nil, err
	}
	url := "etcd://" + address
	return &started{url: url, aside: url + "?prefix=/aside", open: overURL(url)}, nil
}

// The subcommands that run a server; the others call them.
const (
	natsCommand = "nats-server"
	etcdCommand = "etcd"
)

// startServer starts this program as a server, and waits until it listens.
func startServer(ctx context.Context, l *lab, command string) (address string, err error) {
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	if address, err = freeAddress(ctx); err != nil {
		return "", err
	}
	p, err := l.start(ctx, command, anyCore, program, command, "-address", address, "-dir", filepath.Join(l.dir, command))
	if err != nil {
		return "", err
	}
	return address, p.listens(ctx, address)
}

// listens waits until p accepts connections.
func (p *process) listens(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %s", p.name, p.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen: %w: %s", p.name, err, p.lastWords())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// serverFlags reads what a server is started with.
func serverFlags(command string, args []string) (address, dir string, err error) {
	flags := flag.NewFlagSet("bench "+command, flag.ContinueOnError)
	flags.StringVar(&address, "address", "127.0.0.1:0", "where to listen")
	flags.StringVar(&dir, "dir", "", "where to keep what it holds")
	err = flags.Parse(args)
	return address, dir, err
}

// serveNATS is a server of NATS with JetStream.
func serveNATS(ctx context.Context, args []string) error {
	address, dir, err := serverFlags(natsCommand, args)
	if err != nil {
		return err
	}
	s, err := nats.Start(ctx, dir, &nats.ServerOptions{Address: address})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return s.Close()
}

// serveEtcd is a server of etcd, as it is by default.
func serveEtcd(ctx context.Context, args []string) error {
	address, dir, err := serverFlags(etcdCommand, args)
	if err != nil {
		return err
	}
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	client, peer := url.URL{Scheme: "http", Host: address}, url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer e.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-e.Err():
		return err
	}
}

// consulProgram returns where the tests of Consul build it, or "" where there is
// no such place.
func consulProgram() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "goapi", "consul-1.10.12")
}

// startConsul starts an agent that is a cluster of its own.
func startConsul(ctx context.Context, l *lab, program string) (*started, error) {
	if _, err := os.Stat(program); err != nil {
		return nil, &missingError{fmt.Sprintf("there is no %s: build it (cd test/consul && go test -run Registry), or name one with -consul", program)}
	}
	var addresses, ports [3]string
	for i := range ports {
		var err error
		if addresses[i], err = freeAddress(ctx); err != nil {
			return nil, err
		}
		_, ports[i], _ = strings.Cut(addresses[i], ":")
	}
	p, err := l.start(ctx, "consul", anyCore, program, "agent", "-dev", "-bind=127.0.0.1", "-node=bench", "-log-level=warn",
		"-http-port="+ports[0], "-server-port="+ports[1], "-serf-lan-port="+ports[2], "-serf-wan-port=-1", "-dns-port=-1", "-grpc-port=-1",
		"-hcl=disable_update_check = true")
	if err != nil {
		return nil, err
	}
	url := "consul://" + addresses[0]
	return &started{url: url, open: overURL(url)}, p.await(ctx, "http://"+addresses[0]+"/v1/catalog/services")
}

// startFile makes a file that holds no service yet.
func startFile(_ context.Context, l *lab) (*started, error) {
	f := &file{path: filepath.Join(l.dir, "services.yaml")}
	return &started{url: "file:" + f.path, open: func(context.Context, *gateway) (registry.Writer, error) { return f, nil }}, f.save()
}

// A file is a file of services, which a program edits.
type file struct {
	path string

	mu    sync.Mutex
	lines []byte // a service each
}

// Register implements registry.Writer: it adds a service that is not there.
func (f *file) Register(_ context.Context, s *registry.Service, _ time.Duration) error {
	line, err := f.line(s)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, line...)
	return f.save()
}

// Deregister implements registry.Writer.
func (f *file) Deregister(_ context.Context, s *registry.Service) error {
	line, err := f.line(s)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = bytes.Replace(f.lines, line, nil, 1)
	return f.save()
}

// line returns a service in YAML, of which JSON is a part.
func (f *file) line(s *registry.Service) ([]byte, error) {
	data, err := json.Marshal(s)
	return fmt.Appendf(nil, "  - %s\n", data), err
}

// save replaces the file, as programs do.
func (f *file) save() error {
	text := append([]byte("services:\n"), f.lines...)
	if len(f.lines) == 0 {
		text = []byte("services: []\n")
	}
	if err := os.WriteFile(f.path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(f.path+".new", f.path)
}
