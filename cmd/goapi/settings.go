package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/standard"
)

// Where the gateway listens by default.
const (
	defaultAddress = ":8080"
	defaultAdmin   = "127.0.0.1:8081"
	defaultNATS    = "127.0.0.1:4222"
)

// natsOff keeps the embedded bus inside the process.
const natsOff = "off"

// settings is what the flags of goapi run say, and the file of --config for those
// that say nothing.
type settings struct {
	configFile string
	file       *config.File // what it says; nil without one
	fromFile   []string     // the flags that it was asked for

	address, admin, nats         string
	registries                   []string
	broker                       string
	mounts                       []string
	publish, subscribe, push     []string
	data                         string
	resolver, namespace, handler string
	apiFormat                    string
	logLevel, logFormat          string
	adminTokenFile               string
	adminHosts                   []string
	natsTokenFile                string
	trustedProxies               []string
	upstreamCA                   string
	upstreamCert, upstreamKey    string
	tlsCert, tlsKey              string
	drain, drainDelay            time.Duration
	policies                     policies
	origins                      []string
}

// addListeners adds the flags that goapi run and goapi demo share.
func (c *settings) addListeners(flags *pflag.FlagSet, address string) {
	flags.StringVar(&c.address, "address", address, "where clients connect, host:port")
	flags.StringVar(&c.admin, "admin", defaultAdmin, "where the admin API listens, host:port")
	flags.StringVar(&c.nats, "nats", defaultNATS, "where the embedded bus listens, host:port, or off to keep it inside the process")
}

// addServer adds the flags that only a real server has.
func (c *settings) addServer(flags *pflag.FlagSet, env func(string) (string, bool)) {
	flags.StringArrayVar(&c.registries, "registry", []string{"embedded:"}, "URL of a registry: embedded:, nats://HOST:PORT, etcd://HOST:PORT, consul://HOST:PORT, mdns:, file:NAME.yaml, nats+micro://HOST:PORT or memory: (repeatable; an earlier one takes precedence)")
	flags.StringVar(&c.configFile, "config", "", "YAML file with these settings and more: policies, identity, limits, certificates; flags win over it (default: none)")
	flags.StringVar(&c.broker, "broker", "", "URL of the message broker: embedded:, nats://HOST:PORT, nats+micro://HOST:PORT, http+micro: or memory:, or off (default embedded: where a registry is embedded:, else off)")
	flags.StringArrayVar(&c.mounts, "mount", nil, "path of --address that is given to a handler: /events=event, /cloudevents=cloudevents or /broker=broker (repeatable; options follow as in /events=event?namespace=NS&format=protobuf&allow_header=NAME&deny_header=NAME, of which the last two, repeatable, say which headers are published)")
	flags.StringArrayVar(&c.publish, "publish", nil, "topic that clients of --address may publish on, such as orders, orders.* or **; of the handlers event, cloudevents and broker (repeatable; default: none)")
	flags.StringArrayVar(&c.subscribe, "subscribe", nil, "topic that clients of a broker mount may receive (repeatable; default: none)")
	flags.StringArrayVar(&c.push, "push", nil, "topic whose messages are pushed to services that ask for it (repeatable; default: none)")
	flags.StringVar(&c.data, "data", dataDir(env), "directory for what must survive a restart")
	flags.StringVar(&c.resolver, "resolver", "micro", "what names the service of a request without a route: micro, path, vpath, host, grpc, subdomain, or none; gRPC, unless that is none, by the path of its method")
	flags.StringVar(&c.namespace, "namespace", "", "prefix of the service names that the resolver finds")
	flags.StringVar(&c.apiFormat, "api-format", formatJSON, "encoding of the messages of the handler api: json, which all services take, or protobuf, in which those of go-micro v2.0 to v3.5 leave a call unanswered that fails")
	flags.StringVar(&c.handler, "handler", "auto", "what serves a request without a route: auto (as the service's protocol says), rpc, http, web or api")
	flags.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&c.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&c.adminTokenFile, "admin-token-file", "", "file whose first line is the token of the admin API; needed when --admin is not loopback")
	flags.StringArrayVar(&c.adminHosts, "admin-host", nil, "host name that the admin API answers to, besides IP addresses and localhost (repeatable)")
	flags.StringVar(&c.natsTokenFile, "nats-token-file", "", "file whose first line is the token of the embedded bus; needed when --nats is not loopback")
	flags.StringArrayVar(&c.trustedProxies, "trusted-proxy", nil, "address or CIDR of a proxy whose X-Forwarded-For is believed (repeatable)")
	flags.StringVar(&c.tlsCert, "tls-cert", "", "PEM file of the certificate that --address is served with, its chain included; default: clear text")
	flags.StringVar(&c.tlsKey, "tls-key", "", "PEM file of its private key")
	flags.StringVar(&c.upstreamCA, "upstream-ca", "", "PEM file of the authority that signed the certificates of nodes with secure=true; default: the system's")
	flags.StringVar(&c.upstreamCert, "upstream-cert", "", "PEM file of the certificate that nodes with secure=true get to see of the gateway, its chain included; default: none")
	flags.StringVar(&c.upstreamKey, "upstream-key", "", "PEM file of its private key")
	c.policies.add(flags)
	flags.StringArrayVar(&c.origins, "origin", nil, "web page that may open WebSockets and, of mounts, publish, besides the gateway's own: https://app.example.com or https://*.example.com (repeatable; without any, a WebSocket that is proxied to a service may come from any page: the service looks at Origin)")
	flags.DurationVar(&c.drainDelay, "drain-delay", 0, "time between the moment when /readyz fails and the end of accepting connections, for load balancers to learn of it")
	flags.DurationVar(&c.drain, "drain", 30*time.Second, "time that requests in flight get when the gateway stops")
}

// check returns what the flags say that cannot be.
func (c *settings) check() error {
	if !slices.Contains([]string{"auto", "rpc", "http", "web", "api"}, c.handler) {
		return fmt.Errorf("--handler %q: want auto, rpc, http, web or api", c.handler)
	}
	if !slices.Contains([]string{formatJSON, formatProtobuf}, c.apiFormat) {
		return fmt.Errorf("--api-format %q: want json or protobuf", c.apiFormat)
	}
	for _, origin := range c.origins {
		if err := handler.CheckOrigin(origin); err != nil {
			return fmt.Errorf("--origin: %s", strings.TrimPrefix(err.Error(), "handler: "))
		}
	}
	if err := c.checkEvents(); err != nil {
		return err
	}
	if err := c.checkPlugins(); err != nil {
		return err
	}
	if err := c.checkFiles(); err != nil {
		return err
	}
	if c.drain <= 0 {
		return fmt.Errorf("--drain %s: want a time above 0, such as 30s", c.drain)
	}
	if c.drainDelay < 0 {
		return fmt.Errorf("--drain-delay %s: want a time such as 5s, or 0 for none", c.drainDelay)
	}
	listeners := []struct{ flag, address, token string }{
		{"address", c.address, "none"},
		{"admin", c.admin, c.adminTokenFile},
		{"nats", c.nats, c.natsTokenFile},
	}
	for _, l := range listeners {
		if l.flag == "nats" && (l.address == natsOff || !c.embedded()) {
			continue
		}
		if _, _, err := net.SplitHostPort(l.address); err != nil {
			return fmt.Errorf("--%s %q: want HOST:PORT, such as 127.0.0.1:8080", l.flag, l.address)
		}
		if l.token == "" && !loopback(l.address) {
			return fmt.Errorf("--%s %s can be reached from other machines: give --%s-token-file FILE, or listen on 127.0.0.1", l.flag, l.address, l.flag)
		}
	}
	return nil
}

// checkPlugins returns which registry or broker there is not, or is named with
// what it does not know.
func (c *settings) checkPlugins() error {
	known := standard.Registries(nil)
	for i, url := range c.registries {
		if err := standard.Check(known, url); err != nil {
			return c.wrong("registry", i, err)
		}
		if slices.Index(c.registries, url) != i { // both would keep one snapshot
			return c.wrong("registry", i, errors.New("it is there twice: leave one out"))
		}
	}
	if url := c.brokerURL(); url != "" {
		if err := standard.Check(standard.Brokers(nil), url); err != nil {
			return fmt.Errorf("--broker: %w", err)
		}
	}
	return nil
}

// checkFiles returns what is wrong with what is kept in files.
func (c *settings) checkFiles() error {
	if info, err := os.Stat(c.data); err == nil && !info.IsDir() {
		return fmt.Errorf("--data %s is a file: name a directory", c.data)
	}
	for _, secret := range []struct{ flag, file string }{{"admin-token-file", c.adminTokenFile}, {"nats-token-file", c.natsTokenFile}} {
		if _, err := readSecret(secret.flag, secret.file); err != nil {
			return err
		}
	}
	if c.file != nil && c.file.TLS != nil && c.file.TLS.ACME != nil && c.file.TLS.ACME.Storage == "nats" {
		if _, ok := c.busURL(); !ok {
			return fmt.Errorf("%s: tls.acme.storage: %w", c.file.Position("tls.acme.storage"), errNoBus())
		}
	}
	return nil
}

// embedded says that something uses the embedded bus.
func (c *settings) embedded() bool {
	return anyEmbedded(append(slices.Clone(c.registries), c.brokerURL())...)
}

// anyEmbedded says whether one of the URLs names the embedded bus.
func anyEmbedded(urls ...string) bool {
	return slices.ContainsFunc(urls, func(u string) bool {
		return strings.HasPrefix(u, "embedded:") || strings.HasPrefix(u, "embedded+")
	})
}

// loopback says that only this machine can reach an address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.IsLoopback())
}

// dataDir is where a user's programs keep their state (XDG Base Directory
// Specification).
func dataDir(env func(string) (string, bool)) string {
	if dir, ok := env("XDG_STATE_HOME"); ok && dir != "" {
		return filepath.Join(dir, "goapi")
	}
	if home, ok := env("HOME"); ok && home != "" {
		return filepath.Join(home, ".local", "state", "goapi")
	}
	return "goapi-data"
}

// proxies returns --trusted-proxy as prefixes.
func (c *settings) proxies() ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, s := range c.trustedProxies {
		if ip, err := netip.ParseAddr(s); err == nil {
			prefixes = append(prefixes, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("--trusted-proxy %q: want an IP address or a CIDR such as 10.0.0.0/8", s)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

// upstreamTLS returns how nodes are called over TLS.
func (c *settings) upstreamTLS() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.upstreamCA != "" {
		pem, err := os.ReadFile(c.upstreamCA)
		if err != nil {
			return nil, fmt.Errorf("--upstream-ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--upstream-ca %s: the file holds no PEM certificate", c.upstreamCA)
		}
	}
	if c.upstreamCert == "" && c.upstreamKey == "" {
		return conf, nil
	}
	if c.upstreamCert == "" || c.upstreamKey == "" {
		return nil, errors.New("--upstream-cert and --upstream-key belong together: give both, or none to show nodes no certificate")
	}
	shown := func() (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(c.upstreamCert, c.upstreamKey)
		if err != nil {
			return nil, fmt.Errorf("--upstream-cert %s --upstream-key %s: %w", c.upstreamCert, c.upstreamKey, err)
		}
		return &cert, nil
	}
	if _, err := shown(); err != nil {
		return nil, err
	}
	// Connections to nodes are few and kept: each handshake reads the files, so that a
	// certificate that was replaced is used.
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown() }
	return conf, nil
}

// listening names the flag of an address that could not be listened on.
func listening(flag, address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use by another program: choose another address with --%s HOST:PORT", address, flag)
	}
	return fmt.Errorf("--%s %s: %w", flag, address, err)
}
