package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"unicode"
)

// The schemes of URLs.
const (
	plain   = "etcd"
	secured = "etcds"
)

// The parameters of URLs.
const (
	paramCA     = "ca"
	paramCert   = "cert"
	paramHost   = "host"
	paramKey    = "key"
	paramPrefix = "prefix"
)

const (
	defaultPort   = "2379"
	defaultPrefix = "/micro/registry"
)

// target is what a URL says of a registry.
type target struct {
	name           string   // as errors have it
	hosts          []string // host:port
	user, password string   // "" for none
	prefix         string   // ends with "/"
	tls            *tls.Config
}

// parse reads a URL. Its errors show neither the user nor what parameters
// hold: it may be meant as a secret.
func parse(u *url.URL) (target, error) {
	t, err := parseURL(u)
	if err != nil {
		return target{}, fmt.Errorf("registry: %s://%s: %w", u.Scheme, u.Host, err)
	}
	return t, nil
}

func parseURL(u *url.URL) (target, error) {
	if u.Scheme != plain && u.Scheme != secured {
		return target{}, fmt.Errorf("unknown scheme %q; known: %s, %s", u.Scheme, plain, secured)
	}
	query, err := parseQuery(u)
	if err != nil {
		return target{}, err
	}
	if u.Opaque != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return target{}, fmt.Errorf("it has parts that mean nothing; want %s://host:port?parameter=value", u.Scheme)
	}
	var t target
	for _, host := range append([]string{u.Host}, query[paramHost]...) {
		address, err := withPort(host)
		if err != nil {
			return target{}, err
		}
		t.hosts = append(t.hosts, address)
	}
	t.name = u.Scheme + "://" + strings.Join(t.hosts, ",")
	if t.prefix, err = parsePrefix(query); err != nil {
		return target{}, err
	}
	if u.User != nil {
		t.user = u.User.Username()
		t.password, _ = u.User.Password()
		if t.user == "" || t.password == "" {
			return target{}, errors.New("a user and a password go together")
		}
	}
	t.tls, err = parseTLS(u.Scheme, query)
	return t, err
}

// parseQuery returns the parameters of u, all of which are known and, but for
// hosts, there once.
func parseQuery(u *url.URL) (url.Values, error) {
	known := []string{paramCA, paramCert, paramHost, paramKey, paramPrefix}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the parameters are malformed")
	}
	for name, values := range query {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown parameter %q; known: %s", name, strings.Join(known, ", "))
		}
		if len(values) > 1 && name != paramHost {
			return nil, fmt.Errorf("parameter %q is there %d times", name, len(values))
		}
	}
	return query, nil
}

// withPort returns a host as host:port. What is not one does not come out as it
// went in.
func withPort(host string) (string, error) {
	u := url.URL{Host: host}
	name, port := u.Hostname(), u.Port()
	if port == "" {
		port = defaultPort
	}
	address := net.JoinHostPort(name, port)
	if name == "" || strings.ContainsAny(name, "@/,?[] ") || strings.TrimSuffix(address, ":"+defaultPort) != host && address != host {
		return "", fmt.Errorf("host %q is not host:port", host)
	}
	return address, nil
}

// parsePrefix returns what all keys begin with.
func parsePrefix(query url.Values) (string, error) {
	prefix := defaultPrefix
	if query.Has(paramPrefix) {
		prefix = query.Get(paramPrefix)
	}
	prefix = strings.TrimRight(prefix, "/")
	if !strings.HasPrefix(prefix, "/") || len(prefix) > maxPrefix ||
		strings.ContainsFunc(prefix, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return "", fmt.Errorf("%s is not a path like %s of at most %d bytes", paramPrefix, defaultPrefix, maxPrefix)
	}
	return prefix + "/", nil
}

// parseTLS returns what the files say: whom to trust, and who we are. It is nil
// for a connection without TLS.
func parseTLS(scheme string, query url.Values) (*tls.Config, error) {
	ca, cert, key := query.Get(paramCA), query.Get(paramCert), query.Get(paramKey)
	if (cert == "") != (key == "") {
		return nil, fmt.Errorf("%s and %s go together", paramCert, paramKey)
	}
	if scheme != secured && ca == "" && cert == "" {
		return nil, nil //nolint:nilnil // nil is no TLS
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca) //nolint:gosec // the operator names it
		if err != nil {
			return nil, fmt.Errorf("%s: %w", paramCA, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: %s holds no certificate in PEM", paramCA, ca)
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s and %s: %w", paramCert, paramKey, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
