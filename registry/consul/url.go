package consul

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/goapi-dev/goapi/internal/urls"
)

// The schemes of URLs.
const (
	plain   = "consul"
	secured = "consuls"
)

// The parameters that are this registry's own.
const (
	paramDatacenter = "datacenter"
	paramTLS        = "tls"
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

// CheckURL returns why Open would refuse a URL, as far as that shows without a
// connection. Files that the URL names are read.
func CheckURL(u *url.URL) error {
	_, err := parse(u)
	return err
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
	query, err := urls.Params(u, urls.CA, urls.Cert, paramDatacenter, urls.Key, paramTLS, urls.TokenFile)
	if err != nil {
		return target{}, err
	}
	if u.Opaque != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return target{}, fmt.Errorf("it has parts that mean nothing; want %s://host:port?parameter=value", u.Scheme)
	}
	t := target{datacenter: query.Get(paramDatacenter), tokenFile: query.Get(urls.TokenFile)}
	if t.address, err = parseHost(u); err != nil {
		return target{}, err
	}
	t.name = u.Scheme + "://" + t.address
	if t.token, err = parseToken(u.User); err != nil {
		return target{}, err
	}
	if t.tokenFile != "" {
		if t.token != "" {
			return target{}, fmt.Errorf("it has both a token and %s; want one", urls.TokenFile)
		}
		if _, err := urls.Secret(urls.TokenFile, t.tokenFile); err != nil {
			return target{}, err
		}
	}
	t.tls, err = parseTLS(u.Scheme, query)
	return t, err
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

// parseTLS returns what the URL says of TLS; nil for connections without.
func parseTLS(scheme string, query url.Values) (*tls.Config, error) {
	secure := scheme == secured
	asked := query.Get(paramTLS)
	switch {
	case asked == "true":
		secure = true
	case query.Has(paramTLS) && asked != "false":
		return nil, fmt.Errorf("%s is neither true nor false", paramTLS)
	}
	cfg, err := urls.TLS(secure, query)
	if err == nil && cfg != nil && asked == "false" {
		err = fmt.Errorf("%s=false contradicts the rest of the URL", paramTLS)
	}
	return cfg, err
}
