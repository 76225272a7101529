package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// soon is how long before its end a certificate is worth a warning.
const soon = 7 * 24 * time.Hour

// Pair names the files of a certificate chain and of its key, both in PEM.
type Pair struct{ Cert, Key string }

// ClientAuth says what is asked of clients.
type ClientAuth string

// What may be asked of clients.
const (
	ClientAuthNone    ClientAuth = "none"    // no certificate
	ClientAuthRequest ClientAuth = "request" // one that is good, or none
	ClientAuthRequire ClientAuth = "require" // one that is good
)

// TLSOptions say who the server is. One of Pairs and Issued is needed.
type TLSOptions struct {
	// Pairs are the certificates, of which a client gets the one for the name that
	// it asks for: for that very name, else for *.DOMAIN, else the first.
	// Default: none.
	Pairs []Pair
	// Issued gives certificates for names that none of Pairs is for, such as those
	// of package acme, whose challenges it answers. Default: none.
	Issued func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// ClientCA is the file with the certificates, in PEM, of those who vouch for
	// clients. Default: none.
	ClientCA string
	// ClientAuth says what is asked of clients. Default: ClientAuthRequire with
	// ClientCA, else ClientAuthNone.
	ClientAuth ClientAuth
	// MinVersion is the oldest version of TLS that is spoken: tls.VersionTLS12 or
	// tls.VersionTLS13. Default: TLS 1.2.
	MinVersion uint16
	// Tickets lets clients resume sessions by tickets, which spares them and the
	// server the proof of who they are: with a key of RSA, that is most of what a
	// handshake costs. Their keys change daily, but what is said to clients is that a
	// ticket is good for a week. Default: each handshake is a whole one.
	Tickets bool
	// Logger gets what happens to the files. Default: none.
	Logger *slog.Logger
}

// Certificates are what a server shows its clients, and what they have to show,
// as files have it. Files that are replaced are read again; as long as they make
// no sense, what was read before is used.
type Certificates struct {
	opts TLSOptions

	mu      sync.Mutex // held while files are read
	current atomic.Pointer[shown]
}

// shown is what was read: shared, read-only.
type shown struct {
	pairs   []*pair // as the options have them
	names   map[string][]*tls.Certificate
	clients *authority
	conf    *tls.Config
}

// pair is what was read of a Pair.
type pair struct {
	files Pair
	text  [2]string // what the files hold
	cert  *tls.Certificate
}

// authority is what was read of a ClientCA.
type authority struct {
	text string
	pool *x509.CertPool
}

// NewCertificates reads the files. All of them must make sense.
func NewCertificates(opts *TLSOptions) (*Certificates, error) {
	c := &Certificates{}
	if opts != nil {
		c.opts = *opts
	}
	if c.opts.Logger == nil {
		c.opts.Logger = slog.New(slog.DiscardHandler)
	}
	if len(c.opts.Pairs) == 0 && c.opts.Issued == nil {
		return nil, errors.New("server: TLS without a certificate: name the files of one, or have them issued")
	}
	switch auth, ca := c.opts.ClientAuth, c.opts.ClientCA; {
	case auth == "" && ca != "":
		c.opts.ClientAuth = ClientAuthRequire
	case auth == "":
		c.opts.ClientAuth = ClientAuthNone
	case auth != ClientAuthNone && auth != ClientAuthRequest && auth != ClientAuthRequire:
		return nil, fmt.Errorf("server: client certificates %q: write %s, %s or %s", auth, ClientAuthNone, ClientAuthRequest, ClientAuthRequire)
	case auth != ClientAuthNone && ca == "":
		return nil, fmt.Errorf("server: client certificates %q without those who vouch for them: name the file of the client CA", auth)
	case auth == ClientAuthNone && ca != "":
		return nil, fmt.Errorf("server: client CA %s is of no use with client certificates %q: write %s or %s", ca, auth, ClientAuthRequest, ClientAuthRequire)
	}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Config returns what a Server needs. It is good for as long as c is: what is read
// later is used for the handshakes that follow.
func (c *Certificates) Config() *tls.Config {
	conf := c.config(nil)
	if c.opts.ClientCA != "" {
		conf.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load().conf, nil }
	}
	return conf
}

// config returns how handshakes are done while clients are vouched for by pool.
func (c *Certificates) config(pool *x509.CertPool) *tls.Config {
	conf := &tls.Config{
		MinVersion:     max(c.opts.MinVersion, tls.VersionTLS12),
		CipherSuites:   cipherSuites(),
		NextProtos:     []string{protoHTTP2, protoHTTP1},
		GetCertificate: c.GetCertificate,
		ClientCAs:      pool,

		SessionTicketsDisabled: !c.opts.Tickets,
	}
	if c.opts.Issued != nil {
		conf.NextProtos = append(conf.NextProtos, protoACME)
	}
	switch c.opts.ClientAuth {
	case ClientAuthRequest:
		conf.ClientAuth = tls.VerifyClientCertIfGiven
	case ClientAuthRequire:
		conf.ClientAuth = tls.RequireAndVerifyClientCert
	case ClientAuthNone:
	}
	return conf
}

// GetCertificate is for tls.Config.
func (c *Certificates) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s := c.current.Load()
	challenge := len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == protoACME
	if !challenge {
		if cert := s.named(hello); cert != nil {
			return cert, nil
		}
	}
	if c.opts.Issued != nil {
		cert, err := c.opts.Issued(hello)
		if err == nil && cert != nil || challenge || len(s.pairs) == 0 {
			return cert, err
		}
	}
	return s.pairs[0].cert, nil
}

// named returns the certificate for the name that the client asks for, or nil. Of
// several, it is the first that the client can use.
func (s *shown) named(hello *tls.ClientHelloInfo) *tls.Certificate {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	found := s.names[name]
	if _, domain, ok := strings.Cut(name, "."); ok && len(found) == 0 {
		found = s.names["*."+domain]
	}
	for _, cert := range found {
		if hello.SupportsCertificate(cert) == nil {
			return cert
		}
	}
	if len(found) > 0 {
		return found[0]
	}
	return nil
}

// Reload reads the files. Of those that make no sense, or do not belong together,
// it keeps what it read before, and says so in its error, one line each.
func (c *Certificates) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.current.Load()
	next, errs := c.read(last)
	err := errors.Join(errs...)
	if last == nil && err != nil {
		return err
	}
	next.conf = c.config(next.clients.trusted())
	c.current.Store(next)
	for i, p := range next.pairs {
		if last == nil || p != last.pairs[i] {
			c.tell(p)
		}
	}
	if next.clients != nil && (last == nil || next.clients != last.clients) {
		c.opts.Logger.Info("client CA read", slog.String("file", c.opts.ClientCA))
	}
	return err
}

// read reads what the options name. What cannot be read is as it was last; where
// there is nothing, errs says so.
func (c *Certificates) read(last *shown) (next *shown, errs []error) {
	next = &shown{names: make(map[string][]*tls.Certificate)}
	for i, files := range c.opts.Pairs {
		var before *pair
		if last != nil {
			before = last.pairs[i]
		}
		p, err := readPair(files, before)
		if err != nil {
			errs = append(errs, err)
			p = before
		}
		if p == nil {
			continue
		}
		next.pairs = append(next.pairs, p)
		for _, name := range namesOf(p.cert.Leaf) {
			next.names[name] = append(next.names[name], p.cert)
		}
	}
	var before *authority
	if last != nil {
		before = last.clients
	}
	ca, err := readAuthority(c.opts.ClientCA, before)
	if err != nil {
		errs = append(errs, err)
		ca = before
	}
	next.clients = ca
	return next, errs
}

// tell logs what was read.
func (c *Certificates) tell(p *pair) {
	level := slog.LevelInfo
	if time.Until(p.cert.Leaf.NotAfter) < soon {
		level = slog.LevelWarn
	}
	c.opts.Logger.Log(context.Background(), level, "certificate read", slog.String("file", p.files.Cert),
		slog.Any("names", namesOf(p.cert.Leaf)), slog.Time("until", p.cert.Leaf.NotAfter))
}

// readPair returns what the files of a pair hold: what was read before, if that
// is the same.
func readPair(files Pair, before *pair) (*pair, error) {
	p := &pair{files: files}
	for i, file := range []string{files.Cert, files.Key} {
		b, err := os.ReadFile(file) //nolint:gosec // the operator named it
		if err != nil {
			return nil, fmt.Errorf("server: certificate: %w", err)
		}
		p.text[i] = string(b)
	}
	if before != nil && before.text == p.text {
		return before, nil
	}
	cert, err := tls.X509KeyPair([]byte(p.text[0]), []byte(p.text[1]))
	if err != nil {
		return nil, fmt.Errorf("server: certificate %s with key %s: %w", files.Cert, files.Key, err)
	}
	p.cert = &cert
	return p, nil
}

func readAuthority(file string, before *authority) (*authority, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // nobody vouches for clients
	}
	b, err := os.ReadFile(file) //nolint:gosec // the operator named it
	if err != nil {
		return nil, fmt.Errorf("server: client CA: %w", err)
	}
	if before != nil && before.text == string(b) {
		return before, nil
	}
	a := &authority{text: string(b), pool: x509.NewCertPool()}
	if !a.pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("server: client CA %s: the file holds no PEM certificate", file)
	}
	return a, nil
}

func (a *authority) trusted() *x509.CertPool {
	if a == nil {
		return nil
	}
	return a.pool
}

// namesOf returns the names that a certificate is for.
func namesOf(leaf *x509.Certificate) []string {
	names := make([]string, 0, len(leaf.DNSNames))
	for _, n := range leaf.DNSNames {
		names = append(names, strings.ToLower(strings.TrimSuffix(n, ".")))
	}
	return names
}

// Expiry says how long a certificate is good.
type Expiry struct {
	File  string   // of the certificate
	Names []string // that it is for
	Until time.Time
}

// Expiries returns how long each of the pairs is good that are in use.
func (c *Certificates) Expiries() []Expiry {
	var all []Expiry
	for _, p := range c.current.Load().pairs {
		all = append(all, Expiry{File: p.files.Cert, Names: namesOf(p.cert.Leaf), Until: p.cert.Leaf.NotAfter})
	}
	return all
}
