package server_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/server"
)

func TestCertificateForAName(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	certs, err := server.NewCertificates(&server.TLSOptions{
		Pairs: []server.Pair{
			ca.write(t, dir, "default", "default.example"),
			ca.write(t, dir, "api", "api.example.com"),
			ca.write(t, dir, "wild", "*.example.com", "example.com"),
			ca.writeRSA(t, dir, "rsa", "both.example"),
			ca.write(t, dir, "ecdsa", "both.example"),
		},
		Issued: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName == "issued.example" || slices.Equal(hello.SupportedProtos, []string{"acme-tls/1"}) {
				return ca.issue(t, "issued", ca.key(t), time.Hour, "issued.example", "api.example.com"), nil
			}
			return nil, errors.New("not that one")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, _, _ := start(t, http.NotFoundHandler(), &server.Options{TLS: certs.Config()})
	tests := []struct {
		name   string
		sni    string
		change func(*tls.Config)
		want   string
	}{
		{"as it is", "api.example.com", nil, "api"},
		{"in other letters", "API.Example.com", nil, "api"},
		{"one label below", "www.example.com", nil, "wild"},
		{"two labels below", "a.b.example.com", nil, "default"},
		{"of the domain itself", "example.com", nil, "wild"},
		{"that nobody knows", "other.example", nil, "default"},
		{"that is none", "", nil, "default"},
		{"that is issued", "issued.example", nil, "issued"},
		{"of which there are two", "both.example", nil, "rsa"},
		{"of which there are two, for one who cannot have the first", "both.example", func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		}, "ecdsa"},
		{"for a challenge", "api.example.com", func(c *tls.Config) { c.NextProtos = []string{"acme-tls/1"} }, "issued"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conf := &tls.Config{ServerName: tt.sni, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
			if tt.change != nil {
				tt.change(conf)
			}
			state, err := shake(t, s, conf)
			if err != nil {
				t.Fatal(err)
			}
			if got := state.PeerCertificates[0].Subject.CommonName; got != tt.want {
				t.Errorf("certificate for %q = %s, want %s", tt.sni, got, tt.want)
			}
		})
	}
}

// TestModernTLS has clients that are too old.
func TestModernTLS(t *testing.T) {
	ca := newAuthority(t)
	certs, err := server.NewCertificates(&server.TLSOptions{Pairs: []server.Pair{ca.writeRSA(t, t.TempDir(), "a", "a.example")}})
	if err != nil {
		t.Fatal(err)
	}
	s, _, _ := start(t, http.NotFoundHandler(), &server.Options{TLS: certs.Config()})
	tests := []struct {
		name    string
		max     uint16
		suites  []uint16
		refused bool
	}{
		{"TLS 1.3", tls.VersionTLS13, nil, false},
		{"TLS 1.2", tls.VersionTLS12, nil, false},
		{"TLS 1.1", tls.VersionTLS11, nil, true},
		{"CBC", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}, true},
		{"no forward secrecy", tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conf := &tls.Config{RootCAs: ca.roots(), ServerName: "a.example", MinVersion: tls.VersionTLS10, MaxVersion: tt.max, CipherSuites: tt.suites}
			if _, err := shake(t, s, conf); (err != nil) != tt.refused {
				t.Errorf("handshake = %v, want refused %t", err, tt.refused)
			}
		})
	}
}

func TestReload(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	a, b := ca.write(t, dir, "a", "a.example"), ca.write(t, dir, "b", "b.example")
	certs, err := server.NewCertificates(&server.TLSOptions{Pairs: []server.Pair{a, b}})
	if err != nil {
		t.Fatal(err)
	}
	serials := func() (all []string) {
		for _, name := range []string{"a.example", "b.example"} {
			c, err := certs.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c.Leaf.SerialNumber.String())
		}
		return all
	}
	first := serials()

	ca.write(t, dir, "a", "a.example") // another one
	if err := os.WriteFile(b.Key, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = certs.Reload()
	if err == nil || !strings.Contains(err.Error(), b.Cert) || strings.Contains(err.Error(), a.Cert) || strings.Contains(err.Error(), "\n") {
		t.Errorf("Reload = %v, want a line about %s", err, b.Cert)
	}
	second := serials()
	if second[0] == first[0] || second[1] != first[1] {
		t.Errorf("certificates = %v, were %v; want the first changed, and the second kept", second, first)
	}

	if err := os.Remove(a.Cert); err != nil {
		t.Fatal(err)
	}
	err = certs.Reload()
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("Reload = %v, want two lines", err)
	}
	if got := serials(); !slices.Equal(got, second) {
		t.Errorf("certificates = %v, want %v kept", got, second)
	}

	ca.write(t, dir, "a", "a.example")
	ca.write(t, dir, "b", "b.example")
	if err := certs.Reload(); err != nil {
		t.Errorf("Reload = %v, want nil", err)
	}
	if got := serials(); got[0] == second[0] || got[1] == second[1] {
		t.Errorf("certificates = %v, were %v; want others", got, second)
	}
}

// TestFilesThatChange has files change in the ways of those who do that.
func TestFilesThatChange(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, ca *authority, dir string) server.Pair
		change  func(t *testing.T, ca *authority, dir string)
	}{
		{
			"written in place",
			func(t *testing.T, ca *authority, dir string) server.Pair { return ca.write(t, dir, "a", "a.example") },
			func(t *testing.T, ca *authority, dir string) { ca.write(t, dir, "a", "a.example") },
		},
		{
			"renamed over",
			func(t *testing.T, ca *authority, dir string) server.Pair { return ca.write(t, dir, "a", "a.example") },
			func(t *testing.T, ca *authority, dir string) {
				p := ca.write(t, t.TempDir(), "a", "a.example")
				rename(t, p.Cert, filepath.Join(dir, "a.crt"))
				rename(t, p.Key, filepath.Join(dir, "a.key"))
			},
		},
		{
			"behind a link that is renamed over, as Kubernetes does",
			func(t *testing.T, ca *authority, dir string) server.Pair {
				ca.write(t, mkdir(t, dir, "..1"), "a", "a.example")
				link(t, "..1", filepath.Join(dir, "..data"))
				link(t, "..data/a.crt", filepath.Join(dir, "a.crt"))
				link(t, "..data/a.key", filepath.Join(dir, "a.key"))
				return server.Pair{Cert: filepath.Join(dir, "a.crt"), Key: filepath.Join(dir, "a.key")}
			},
			func(t *testing.T, ca *authority, dir string) {
				ca.write(t, mkdir(t, dir, "..2"), "a", "a.example")
				link(t, "..2", filepath.Join(dir, "..new"))
				rename(t, filepath.Join(dir, "..new"), filepath.Join(dir, "..data"))
			},
		},
		{
			"to nonsense, and back",
			func(t *testing.T, ca *authority, dir string) server.Pair { return ca.write(t, dir, "a", "a.example") },
			func(t *testing.T, ca *authority, dir string) {
				if err := os.WriteFile(filepath.Join(dir, "a.key"), []byte("nonsense"), 0o600); err != nil {
					t.Fatal(err)
				}
				ca.write(t, dir, "a", "a.example")
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ca, dir := newAuthority(t), t.TempDir()
			log := make(lines, 16)
			certs, err := server.NewCertificates(&server.TLSOptions{
				Pairs:  []server.Pair{tt.prepare(t, ca, dir)},
				Logger: slog.New(slog.NewTextHandler(log, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			log.await(t, "certificate read")
			before, _ := certs.GetCertificate(new(tls.ClientHelloInfo))
			run(t, certs)
			tt.change(t, ca, dir)
			log.await(t, "certificate read")
			after, _ := certs.GetCertificate(new(tls.ClientHelloInfo))
			if after == before {
				t.Error("the certificate is the one before")
			}
		})
	}
}

// TestFilesThatMakeNoSense keeps what is there, and says so once.
func TestFilesThatMakeNoSense(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	log := make(lines, 16)
	p := ca.write(t, dir, "a", "a.example")
	certs, err := server.NewCertificates(&server.TLSOptions{Pairs: []server.Pair{p}, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	log.await(t, "certificate read")
	run(t, certs)
	if err := os.WriteFile(p.Cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if line := log.await(t, "used on"); !strings.Contains(line, p.Cert) || !strings.Contains(line, "level=ERROR") {
		t.Errorf("log = %q, want an error that names %s", line, p.Cert)
	}
	if c, err := certs.GetCertificate(new(tls.ClientHelloInfo)); err != nil || c.Leaf.Subject.CommonName != "a" {
		t.Errorf("GetCertificate = %v, %v; want the one before", c, err)
	}
}

func TestClientCertificates(t *testing.T) {
	ca, clients, others, dir := newAuthority(t), newAuthority(t), newAuthority(t), t.TempDir()
	none := func() *tls.Certificate { return nil }
	good := func() *tls.Certificate { return clients.issue(t, "good", clients.key(t), time.Hour) }
	bad := func() *tls.Certificate { return others.issue(t, "bad", others.key(t), time.Hour) }
	late := func() *tls.Certificate { return clients.issue(t, "late", clients.key(t), -time.Minute) }
	tests := []struct {
		name    string
		auth    server.ClientAuth
		cert    func() *tls.Certificate
		refused bool
	}{
		{"none is asked for", server.ClientAuthNone, good, false},
		{"requested, and none", server.ClientAuthRequest, none, false},
		{"requested, and good", server.ClientAuthRequest, good, false},
		{"requested, and of another authority", server.ClientAuthRequest, bad, true},
		{"required, and none", server.ClientAuthRequire, none, true},
		{"required, and good", server.ClientAuthRequire, good, false},
		{"required, and too old", server.ClientAuthRequire, late, true},
		{"required by default", "", none, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts := &server.TLSOptions{Pairs: []server.Pair{ca.write(t, dir, "a", "a.example")}, ClientAuth: tt.auth}
			if tt.auth != server.ClientAuthNone {
				opts.ClientCA = clients.file(t, dir)
			}
			certs, err := server.NewCertificates(opts)
			if err != nil {
				t.Fatal(err)
			}
			s, _, _ := start(t, http.NotFoundHandler(), &server.Options{TLS: certs.Config()})
			conf := &tls.Config{RootCAs: ca.roots(), ServerName: "a.example", MinVersion: tls.VersionTLS12}
			if c := tt.cert(); c != nil {
				conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil } // whoever is asked for
			}
			if _, err := shake(t, s, conf); (err != nil) != tt.refused {
				t.Errorf("handshake = %v, want refused %t", err, tt.refused)
			}
		})
	}
}

// TestClientCAThatChanges vouches for others than before, also for one who
// resumes a session.
func TestClientCAThatChanges(t *testing.T) {
	for _, tickets := range []bool{false, true} {
		t.Run(fmt.Sprint("tickets ", tickets), func(t *testing.T) {
			ca, before, after, dir := newAuthority(t), newAuthority(t), newAuthority(t), t.TempDir()
			certs, err := server.NewCertificates(&server.TLSOptions{
				Pairs: []server.Pair{ca.write(t, dir, "a", "a.example")}, ClientCA: before.file(t, dir), Tickets: tickets,
			})
			if err != nil {
				t.Fatal(err)
			}
			s, _, _ := start(t, http.NotFoundHandler(), &server.Options{TLS: certs.Config()})
			conf := func(a *authority) *tls.Config {
				return &tls.Config{
					RootCAs: ca.roots(), ServerName: "a.example", Certificates: []tls.Certificate{*a.issue(t, "client", a.key(t), time.Hour)},
					ClientSessionCache: tls.NewLRUClientSessionCache(1), MinVersion: tls.VersionTLS12,
				}
			}
			old, young := conf(before), conf(after)
			if _, err := shake(t, s, old); err != nil {
				t.Fatal(err)
			}
			if state, err := shake(t, s, old); err != nil || state.DidResume != tickets {
				t.Errorf("second handshake = %v, resumed %t; want resumed %t", err, state.DidResume, tickets)
			}
			if _, err := shake(t, s, young); err == nil {
				t.Error("a client of another authority was taken")
			}
			after.file(t, dir)
			if err := certs.Reload(); err != nil {
				t.Fatal(err)
			}
			if _, err := shake(t, s, young); err != nil {
				t.Errorf("a client of the new authority: %v", err)
			}
			if _, err := shake(t, s, old); err == nil {
				t.Error("a client of the old authority was taken")
			}

			if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("nonsense"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := certs.Reload(); err == nil || !strings.Contains(err.Error(), "ca.pem") {
				t.Errorf("Reload = %v, want an error that names the file", err)
			}
			if _, err := shake(t, s, young); err != nil {
				t.Errorf("a client of the authority that was read last: %v", err)
			}
		})
	}
}

func TestTLSOptionsThatMakeNoSense(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	a, b := ca.write(t, dir, "a", "a.example"), ca.write(t, dir, "b", "b.example")
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		opts *server.TLSOptions
		want string
	}{
		{"nothing", nil, "name the files"},
		{"a file that is not there", &server.TLSOptions{Pairs: []server.Pair{{Cert: dir + "/none", Key: a.Key}}}, "none"},
		{"a key of another", &server.TLSOptions{Pairs: []server.Pair{{Cert: a.Cert, Key: b.Key}}}, b.Key},
		{"clients without an authority", &server.TLSOptions{Pairs: []server.Pair{a}, ClientAuth: server.ClientAuthRequire}, "client CA"},
		{"an authority without clients", &server.TLSOptions{Pairs: []server.Pair{a}, ClientAuth: server.ClientAuthNone, ClientCA: a.Cert}, "write request or require"},
		{"another word", &server.TLSOptions{Pairs: []server.Pair{a}, ClientAuth: "sometimes"}, "write none, request or require"},
		{"an authority of nobody", &server.TLSOptions{Pairs: []server.Pair{a}, ClientCA: empty}, empty},
		{"an authority that is not there", &server.TLSOptions{Pairs: []server.Pair{a}, ClientCA: empty + "er"}, empty + "er"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := server.NewCertificates(tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("NewCertificates = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestExpiries(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	a := ca.write(t, dir, "a", "a.example", "*.a.example")
	log := make(lines, 16)
	certs, err := server.NewCertificates(&server.TLSOptions{Pairs: []server.Pair{a}, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	got := certs.Expiries()
	if len(got) != 1 || got[0].File != a.Cert || !slices.Equal(got[0].Names, []string{"a.example", "*.a.example"}) || time.Until(got[0].Until) > time.Hour {
		t.Errorf("Expiries = %+v, want an hour of %s", got, a.Cert)
	}
	if line := log.await(t, "certificate read"); !strings.Contains(line, "level=WARN") {
		t.Errorf("log = %q, want a warning: it ends soon", line)
	}
}
