package consul

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// The schemes of URLs.
const (
	plain   = "consul"
	secured = "consuls"
)

// The parameters of URLs.
const (
	paramCA         = "ca"
	paramCert       = "cert"
	paramDatacenter = "datacenter"
	paramKey        = "key"
	paramTLS        = "tls"
	paramTokenFile  = "token_file"
)

const (
	defaultHost = "127.0.0.1"
	defaultPort = "8500"
)

// target is what a URL says of an agent.
type target struct {
	name       string // as errors and logs have it
	address    string // host:port
	datacenter string // "" for the agent's own
	token      string // "" for none
	tokenFile  string // "" for none
	tls        *tls.Config
}

// parse reads a URL. Its errors show neither a token nor what parameters hold:
// it may be meant as a secret.
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
	t := target{datacenter: query.Get(paramDatacenter), tokenFile: query.Get(paramTokenFile)}
	if t.address, err = parseHost(u); err != nil {
		return target{}, err
	}
	t.name = u.Scheme + "://" + t.address
	if t.token, err = parseToken(u.User); err != nil {
		return target{}, err
	}
	if t.tokenFile != "" {
		if t.token != "" {
			return target{}, fmt.Errorf("it has both a token and %s; want one", paramTokenFile)
		}
		if _, err := readToken(t.tokenFile); err != nil {
			return target{}, err
		}
	}
	t.tls, err = parseTLS(u.Scheme, query)
	return t, err
}

// parseQuery returns the parameters of u, all of which are known and there
// once.
func parseQuery(u *url.URL) (url.Values, error) {
	known := []string{paramCA, paramCert, paramDatacenter, paramKey, paramTLS, paramTokenFile}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the parameters are malformed")
	}
	for name, values := range query {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown parameter %q; known: %s", name, strings.Join(known, ", "))
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("parameter %q is there %d times", name, len(values))
		}
	}
	return query, nil
}

// parseHost returns where the agent is, as host:port.
func parseHost(u *url.URL) (string, error) {
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = defaultHost
	}
	if port == "" {
		port = defaultPort
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strings.ContainsAny(host, "@/,?[] ") {
		return "", errors.New("the host is not host:port")
	}
	return net.JoinHostPort(host, port), nil
}

// parseToken returns the token that a URL holds as its user or as its password.
func parseToken(user *url.Userinfo) (string, error) {
	name, token := user.Username(), ""
	if user != nil {
		token, _ = user.Password()
	}
	switch {
	case name != "" && token != "":
		return "", errors.New("it has both a user and a password; a token is one of them")
	case token != "":
		return token, nil
	}
	return name, nil
}

// readToken returns what a token file holds, less the white space around it.
func readToken(name string) (string, error) {
	data, err := os.ReadFile(name) //nolint:gosec // the operator names it
	if err != nil {
		return "", fmt.Errorf("%s: %w", paramTokenFile, err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", fmt.Errorf("%s: %s is empty", paramTokenFile, name)
	}
	return token, nil
}

// parseTLS returns what the files say: whom to trust, and who we are. It is nil
// for connections without TLS.
func parseTLS(scheme string, query url.Values) (*tls.Config, error) {
	ca, cert, key := query.Get(paramCA), query.Get(paramCert), query.Get(paramKey)
	if (cert == "") != (key == "") {
		return nil, fmt.Errorf("%s and %s go together", paramCert, paramKey)
	}
	secure := scheme == secured || ca != "" || cert != ""
	switch asked := query.Get(paramTLS); {
	case asked == "true":
		secure = true
	case query.Has(paramTLS) && asked != "false":
		return nil, fmt.Errorf("%s is neither true nor false", paramTLS)
	case query.Has(paramTLS) && secure:
		return nil, fmt.Errorf("%s=false contradicts the rest of the URL", paramTLS)
	}
	if !secure {
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
