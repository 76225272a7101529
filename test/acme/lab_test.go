package acme_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi/server"
	"github.com/goapi-dev/goapi/server/acme"
)

// patience is how long what takes an authority moments may take on a busy
// machine.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if text := os.Getenv(envOther); text != "" {
		if err := runOther(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Setenv("PEBBLE_VA_NOSLEEP", "1")
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"), // it has no end
		// One for each account, as long as the process lives.
		goleak.IgnoreTopFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).permit"),
		// It ends when it looks again after a lock that was released.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
	)
}

// authority is one that believes what a gateway proves at its ports.
type authority struct {
	url    string
	trust  *x509.CertPool // of its own certificate
	issues *x509.CertPool // of those that it issues
	orders atomic.Int64

	trustPEM []byte
}

// answer knows the status of an answer: the authority refuses some requests on
// purpose, which are made again.
type answer struct {
	http.ResponseWriter

	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

type authorityOptions struct {
	validity time.Duration // of certificates
	accounts map[string]string
}

// newAuthority starts an authority that asks g for proof.
func newAuthority(t *testing.T, g *gateway, opts authorityOptions) *authority {
	t.Helper()
	if opts.validity == 0 {
		opts.validity = 90 * 24 * time.Hour // the authority suggests a day about two thirds of that to renew at
	}
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	for id, key := range opts.accounts {
		if err := store.AddExternalAccountKeyByID(id, key); err != nil {
			t.Fatal(err)
		}
	}
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{
		"default": {Description: "default", ValidityPeriod: uint64(opts.validity.Seconds())},
	})
	judge := va.New(quiet, port(t, g.plain), port(t, g.secure), false, names(t), store)
	front := wfe.New(quiet, store, judge, issuer, []string{"pebble.example"}, false, len(opts.accounts) > 0, 0, 0)
	a := &authority{trust: x509.NewCertPool(), issues: x509.NewCertPool()}
	h := front.Handler()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &answer{ResponseWriter: w}
		h.ServeHTTP(answer, r)
		if path.Base(r.URL.Path) == "order-plz" && answer.status == http.StatusCreated {
			a.orders.Add(1)
		}
	}))
	s.Config.ErrorLog = quiet
	t.Cleanup(s.Close)
	a.url = s.URL + wfe.DirectoryPath
	a.trust.AddCert(s.Certificate())
	a.trustPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	block, _ := pem.Decode(issuer.GetRootCert(0).PEM())
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	a.issues.AddCert(root)
	return a
}

// names starts a server of DNS for which every name is this machine.
func names(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // which is how the authority asks
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		answer := new(dns.Msg).SetReply(question)
		for _, q := range question.Question {
			if q.Qtype == dns.TypeA {
				header := dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET}
				answer.Answer = append(answer.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
			}
		}
		_ = w.WriteMsg(answer) // an asker who is gone asks again
	})}
	background(t, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { l.Close() })()
		if err := s.ActivateAndServe(); ctx.Err() == nil {
			return err
		}
		return nil
	})
	return l.Addr().String()
}

// gateway has what an authority asks, and who manages its certificates.
type gateway struct {
	plain, secure *server.Server
	manager       atomic.Pointer[acme.Manager]
	log           *logBuffer
}

// newGateway opens both ports.
func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{log: &logBuffer{}}
	certs, err := server.NewCertificates(&server.TLSOptions{
		Issued: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if m := g.manager.Load(); m != nil {
				return m.GetCertificate(hello)
			}
			return nil, errors.New("nobody manages certificates")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	g.plain = serve(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m := g.manager.Load(); m != nil {
			m.HTTPHandler(http.NotFoundHandler()).ServeHTTP(w, r)
		}
	}))
	g.secure = serve(t, certs.Config(), http.NotFoundHandler())
	return g
}

func serve(t *testing.T, conf *tls.Config, h http.Handler) *server.Server {
	t.Helper()
	s, err := server.Listen(t.Context(), "127.0.0.1:0", &server.Options{TLS: conf, HeaderTimeout: patience, Drain: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	background(t, func(ctx context.Context) error { return s.Run(ctx, h) })
	return s
}

// manage has the gateway's certificates issued, until the test ends or stop is
// called.
func (g *gateway) manage(t *testing.T, a *authority, storage acme.Storage, change func(*acme.Options)) (stop func()) {
	t.Helper()
	opts := &acme.Options{
		HTTP: g.plain.Addr().String(), TLS: g.secure.Addr().String(),
		Directory: a.url, Roots: a.trust, Email: "operator@gateway.example",
		Logger: slog.New(slog.NewTextHandler(g.log, nil)),
	}
	change(opts)
	m, err := acme.New(storage, opts)
	if err != nil {
		t.Fatal(err)
	}
	g.manager.Store(m)
	return background(t, m.Run)
}

// background runs something until the test ends or stop is called.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// shake returns the certificate that a client gets.
func (g *gateway) shake(t *testing.T, a *authority, name string) (*x509.Certificate, error) {
	t.Helper()
	d := &tls.Dialer{Config: &tls.Config{RootCAs: a.issues, ServerName: name, MinVersion: tls.VersionTLS12}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", g.secure.Addr().String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// await returns the certificate that a client gets, once it is good.
func (g *gateway) await(t *testing.T, a *authority, name string, good func(*x509.Certificate) bool) *x509.Certificate {
	t.Helper()
	for began := time.Now(); time.Since(began) < patience; {
		c, err := g.shake(t, a, name)
		if err == nil && good(c) {
			return c
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("there is no good certificate for %s; the log:\n%s", name, g.log)
	return nil
}

func any509(*x509.Certificate) bool { return true }

func port(t *testing.T, s *server.Server) int {
	t.Helper()
	_, text, _ := net.SplitHostPort(s.Addr().String())
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// logBuffer is a log.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
