package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/server"
	"github.com/goapi-dev/goapi/server/acme"
)

// publicTLS returns what --address is served with, nil for clear text.
func (g *gateway) publicTLS() (*tls.Config, error) {
	c, t := &g.cfg, g.cfg.file.TLS
	if (c.tlsCert == "") != (c.tlsKey == "") {
		return nil, errors.New("--tls-cert and --tls-key belong together: give both, or none for clear text")
	}
	opts := &server.TLSOptions{Logger: g.log}
	if c.tlsCert != "" {
		opts.Pairs = append(opts.Pairs, server.Pair{Cert: c.tlsCert, Key: c.tlsKey})
	}
	if t != nil {
		for _, p := range t.Certificates {
			opts.Pairs = append(opts.Pairs, server.Pair{Cert: string(p.Cert), Key: string(p.Key)})
		}
		opts.ClientCA, opts.ClientAuth, opts.Tickets = string(t.ClientCA), server.ClientAuth(t.ClientAuth), t.Tickets
		if t.MinVersion == "1.3" {
			opts.MinVersion = tls.VersionTLS13
		}
		if t.ACME != nil {
			opts.Issued = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return g.issuer.GetCertificate(hello) }
		}
	}
	if t == nil && len(opts.Pairs) == 0 {
		return nil, nil //nolint:nilnil // clear text
	}
	var err error
	if g.certificates, err = server.NewCertificates(opts); err != nil {
		if c.tlsCert != "" && t == nil {
			return nil, fmt.Errorf("--tls-cert %s --tls-key %s: %w", c.tlsCert, c.tlsKey, err)
		}
		return nil, fmt.Errorf("%s: tls: %s", c.file.Position("tls"), strings.TrimPrefix(err.Error(), "server: "))
	}
	g.background = append(g.background, g.certificates.Run)
	return g.certificates.Config(), nil
}

// openIssuer makes what has certificates issued, if the configuration asks for it.
func (g *gateway) openIssuer(ctx context.Context) error {
	t := g.cfg.file.TLS
	if t == nil || t.ACME == nil {
		return nil
	}
	fail := func(err error) error { return fmt.Errorf("%s: tls.acme: %w", g.cfg.file.Position("tls.acme"), err) }
	storage, err := g.certificateStorage(ctx, t.ACME)
	if err != nil {
		return fail(err)
	}
	opts := &acme.Options{
		Domains: t.ACME.Domains, OnDemand: t.ACME.OnDemandAllow, HTTP: t.HTTP, TLS: g.public.Addr().String(),
		Directory: t.ACME.CA, Email: t.ACME.Email, Logger: g.log,
	}
	if opts.HTTP != "" { // both are asked for at one host
		host, _, _ := net.SplitHostPort(opts.HTTP)
		_, port, _ := net.SplitHostPort(opts.TLS)
		opts.TLS = net.JoinHostPort(host, port)
	}
	if eab := t.ACME.EAB; eab != nil {
		opts.KeyID, opts.MACKey = eab.KeyID, string(eab.MACKey)
	}
	if t.ACME.CARoot != "" {
		pem, err := os.ReadFile(string(t.ACME.CARoot))
		if err != nil {
			return fail(err)
		}
		opts.Roots = x509.NewCertPool()
		if !opts.Roots.AppendCertsFromPEM(pem) {
			return fail(fmt.Errorf("ca_root: %s holds no PEM certificate", t.ACME.CARoot))
		}
	}
	if g.issuer, err = acme.New(storage, opts); err != nil {
		return fail(err)
	}
	g.background = append(g.background, g.issuer.Run)
	return nil
}

// certificateStorage returns where issued certificates are kept.
func (g *gateway) certificateStorage(ctx context.Context, a *config.ACME) (acme.Storage, error) {
	if a.Storage != "nats" {
		return acme.Disk(filepath.Join(g.cfg.data, "certificates")), nil
	}
	conn, err := g.bus(ctx)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return acme.NATS(ctx, conn, &acme.NATSOptions{Replicas: a.Replicas})
}

// listenPlain opens the listener that sends clients of plain HTTP to TLS, and
// answers challenges of ACME.
func (g *gateway) listenPlain(ctx context.Context) error {
	t := g.cfg.file.TLS
	if t == nil || t.HTTP == "" {
		return nil
	}
	var err error
	opts := g.publicOptions()
	opts.Drain = adminDrain
	g.plain, err = server.Listen(ctx, t.HTTP, opts)
	if err != nil {
		return fmt.Errorf("%s: tls.http %s: %w", g.cfg.configFile, t.HTTP, err)
	}
	g.onClose(g.plain.Close)
	return nil
}

// plainHandler returns what the plain listener serves.
func (g *gateway) plainHandler() http.Handler {
	h := middleware.Bounds(nil)(http.HandlerFunc(g.toTLS))
	if g.issuer != nil {
		h = g.issuer.HTTPHandler(h)
	}
	return h
}

// toTLS sends clients of plain HTTP to where the gateway speaks TLS. What is in
// such a request was readable by all on the way, so only reading is sent on.
func (g *gateway) toTLS(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		goapi.WriteError(w, r, goapi.NewError(http.StatusForbidden, "this is served over https only: what was sent could be read on the way", nil))
		return
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if host == "" || r.URL.Host != "" {
		goapi.WriteError(w, r, goapi.NewError(http.StatusBadRequest, "the request does not say, as requests to a server do, which host it is for", nil))
		return
	}
	_, port, _ := net.SplitHostPort(g.public.Addr().String())
	if public := g.cfg.file.TLS.Port; public > 0 {
		port = strconv.Itoa(public)
	}
	u := *r.URL
	u.Scheme, u.Host, u.User = "https", net.JoinHostPort(host, port), nil
	if port == "443" {
		u.Host = strings.TrimSuffix(u.Host, ":443")
	}
	w.Header().Set("Connection", "close")
	http.Redirect(w, r, u.String(), http.StatusPermanentRedirect) //nolint:gosec // to the host that the client has asked
}
