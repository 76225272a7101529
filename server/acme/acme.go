// Package acme has certificates issued by a certification authority that speaks
// ACME, such as Let's Encrypt, and renews them.
//
// A [Manager] proves to the authority that names are the gateway's by HTTP-01,
// where it is asked over HTTP at port 80, and by TLS-ALPN-01, where it is asked in
// a handshake at port 443. Several gateways that share a [Storage] answer for each
// other, and ask for a certificate once.
//
// Certificates for names that are known beforehand are asked for when the Manager
// starts. For others they are asked for in the first handshake, and only if a list
// allows them: whoever points a name at the gateway would otherwise use up what the
// authority grants.
//
// Who has certificates issued agrees to the terms of the authority.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
)

// LetsEncrypt is the directory of the authority that is asked by default.
const LetsEncrypt = certmagic.LetsEncryptProductionCA

// capacity bounds the certificates in memory: those on demand may be many.
const capacity = 10_000

// ErrNotRunning is returned for handshakes while no Manager runs.
var ErrNotRunning = errors.New("acme: certificates are not managed yet")

// Options say for which names certificates are issued, and by whom. Domains or
// OnDemand, and HTTP or TLS, are needed.
type Options struct {
	// Domains are the names for which certificates are asked for at once. A
	// handshake without a name gets that of the first. Default: none.
	Domains []string
	// OnDemand are the names for which certificates are asked for in their first
	// handshake: names as they are, and *.DOMAIN for those one label below.
	// Default: none.
	OnDemand []string
	// HTTP is the address, HOST:PORT, at which this process serves HTTPHandler, to
	// which port 80 of the names must lead. Default: HTTP-01 is not offered.
	HTTP string
	// TLS is the address, HOST:PORT, at which this process shakes hands with
	// GetCertificate, to which port 443 of the names must lead. Default:
	// TLS-ALPN-01 is not offered.
	TLS string
	// Directory is the URL of the authority. Default: LetsEncrypt.
	Directory string
	// Roots vouches for the authority's own certificate. Default: the system's.
	Roots *x509.CertPool
	// Email is where the authority writes to. Default: none.
	Email string
	// KeyID and MACKey, which is base64 for URLs, bind to an account that is known
	// to the authority otherwise. Default: none.
	KeyID, MACKey string
	// Renewal is the share of its life that a certificate has left when it is
	// renewed, unless the authority says when. Default: a third.
	Renewal float64
	// Check is how often certificates are looked at that may have to be renewed.
	// Default: 10 min.
	Check time.Duration
	// Logger gets what happens to certificates. Default: none.
	Logger *slog.Logger
}

// A Manager has certificates issued, and renews them.
type Manager struct {
	storage Storage
	opts    Options
	http    endpoint
	tls     endpoint
	running atomic.Pointer[running]
}

// running is a Manager that runs.
type running struct {
	cache    *certmagic.Cache
	managed  *certmagic.Config // for Options.Domains
	demanded *certmagic.Config // for Options.OnDemand
	issuer   *certmagic.ACMEIssuer
}

// endpoint is an address of this process.
type endpoint struct {
	host string
	port int // 0 for none
}

// New returns a Manager that keeps its account and certificates in a storage.
func New(storage Storage, opts *Options) (*Manager, error) {
	m := &Manager{storage: storage}
	if opts != nil {
		m.opts = *opts
	}
	if m.opts.Directory == "" {
		m.opts.Directory = LetsEncrypt
	}
	if m.opts.Renewal <= 0 || m.opts.Renewal >= 1 {
		m.opts.Renewal = certmagic.DefaultRenewalWindowRatio
	}
	if m.opts.Check <= 0 {
		m.opts.Check = certmagic.DefaultRenewCheckInterval
	}
	if m.opts.Logger == nil {
		m.opts.Logger = slog.New(slog.DiscardHandler)
	}
	if err := m.opts.check(); err != nil {
		return nil, err
	}
	var err error
	if m.http, err = parseEndpoint("HTTP", m.opts.HTTP); err != nil {
		return nil, err
	}
	if m.tls, err = parseEndpoint("TLS", m.opts.TLS); err != nil {
		return nil, err
	}
	if m.http.port == 0 && m.tls.port == 0 {
		return nil, errors.New("acme: the authority could not ask for proof: name the address for HTTP-01 or TLS-ALPN-01")
	}
	if m.http.port != 0 && m.tls.port != 0 && m.http.host != m.tls.host {
		return nil, fmt.Errorf("acme: the addresses for HTTP-01 (%s) and TLS-ALPN-01 (%s) differ in their hosts: write one host for both", m.opts.HTTP, m.opts.TLS)
	}
	return m, nil
}

// check returns what keeps the options from being used, and writes names in one
// way.
func (o *Options) check() error {
	if len(o.Domains) == 0 && len(o.OnDemand) == 0 {
		return errors.New("acme: there is no name to ask a certificate for: name domains, or those allowed on demand")
	}
	var err error
	if o.Domains, err = parseNames(o.Domains, false); err != nil {
		return err
	}
	if o.OnDemand, err = parseNames(o.OnDemand, true); err != nil {
		return err
	}
	u, err := url.Parse(o.Directory)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("acme: directory %q is no URL of an authority: write https://HOST/PATH", o.Directory)
	}
	if (o.KeyID == "") != (o.MACKey == "") {
		return errors.New("acme: the id and the MAC key of an external account belong together: give both, or none")
	}
	return nil
}

func parseEndpoint(what, address string) (endpoint, error) {
	if address == "" {
		return endpoint{}, nil
	}
	host, text, err := net.SplitHostPort(address)
	port, perr := strconv.ParseUint(text, 10, 16)
	if err != nil || perr != nil || port == 0 {
		return endpoint{}, fmt.Errorf("acme: %s address %q: write HOST:PORT", what, address)
	}
	return endpoint{host: host, port: int(port)}, nil
}

// Run has certificates issued and renewed until ctx is done, and returns nil then.
// The addresses of the options must be listened on before.
func (m *Manager) Run(ctx context.Context) error {
	r := m.start()
	defer r.cache.Stop()
	if err := r.managed.ManageAsync(ctx, m.opts.Domains); err != nil {
		return fmt.Errorf("acme: manage certificates: %w", err)
	}
	m.running.Store(r)
	defer m.running.Store(nil)
	<-ctx.Done()
	return nil
}

// start makes what lives as long as Run.
func (m *Manager) start() *running {
	log := zap.New(core{m.opts.Logger.Handler()})
	r := &running{}
	r.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(cert certmagic.Certificate) (*certmagic.Config, error) {
			if len(cert.Names) > 0 {
				return m.configFor(r, cert.Names[0]), nil
			}
			return r.managed, nil
		},
		RenewCheckInterval: m.opts.Check,
		Capacity:           capacity,
		Logger:             log,
	})
	conf := certmagic.Config{
		Storage:            m.storage,
		OCSP:               certmagic.OCSPConfig{DisableStapling: true},
		RenewalWindowRatio: m.opts.Renewal,
		Logger:             log,
	}
	if len(m.opts.Domains) > 0 {
		conf.DefaultServerName = m.opts.Domains[0]
	}
	r.managed = certmagic.New(r.cache, conf)
	r.issuer = m.issuer(r.managed, log)
	r.managed.Issuers = []certmagic.Issuer{r.issuer}
	conf.OnDemand = &certmagic.OnDemandConfig{DecisionFunc: m.decide}
	r.demanded = certmagic.New(r.cache, conf)
	r.demanded.Issuers = []certmagic.Issuer{m.issuer(r.demanded, log)}
	return r
}

func (m *Manager) issuer(conf *certmagic.Config, log *zap.Logger) *certmagic.ACMEIssuer {
	template := certmagic.ACMEIssuer{
		CA:                      m.opts.Directory,
		Email:                   m.opts.Email,
		Agreed:                  true,
		TrustedRoots:            m.opts.Roots,
		DisableHTTPChallenge:    m.http.port == 0,
		DisableTLSALPNChallenge: m.tls.port == 0,
		ListenHost:              m.host(),
		AltHTTPPort:             m.http.port,
		AltTLSALPNPort:          m.tls.port,
		Logger:                  log,
	}
	if m.opts.KeyID != "" {
		template.ExternalAccount = &acme.EAB{KeyID: m.opts.KeyID, MACKey: m.opts.MACKey}
	}
	return certmagic.NewACMEIssuer(conf, template)
}

// host returns where certmagic finds that the ports are served already: it would
// serve them itself otherwise.
func (m *Manager) host() string {
	if m.http.port != 0 {
		return m.http.host
	}
	return m.tls.host
}

// configFor returns who has the certificate for a name issued.
func (m *Manager) configFor(r *running, name string) *certmagic.Config {
	if !slices.Contains(m.opts.Domains, name) && m.allowed(name) {
		return r.demanded
	}
	return r.managed
}

// allowed says whether a certificate for a name may be issued on demand.
func (m *Manager) allowed(name string) bool {
	label, domain, below := strings.Cut(name, ".")
	if label == "*" {
		return false
	}
	return slices.Contains(m.opts.OnDemand, name) || below && slices.Contains(m.opts.OnDemand, "*."+domain)
}

// decide is asked before a certificate is issued on demand.
func (m *Manager) decide(_ context.Context, name string) error {
	if !m.allowed(name) {
		return fmt.Errorf("acme: %q is not among the names that are allowed on demand", name)
	}
	return nil
}

// GetCertificate is for tls.Config. It answers challenges as well, for which the
// protocols of the tls.Config must have "acme-tls/1".
func (m *Manager) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	r := m.running.Load()
	if r == nil {
		return nil, ErrNotRunning
	}
	return m.configFor(r, canonical(hello.ServerName)).GetCertificate(hello)
}

// HTTPHandler answers challenges, and leaves all else to next.
func (m *Manager) HTTPHandler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if r := m.running.Load(); r != nil && r.issuer.HandleHTTPChallenge(w, req) {
			return
		}
		next.ServeHTTP(w, req)
	})
}
