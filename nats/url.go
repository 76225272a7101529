package nats

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	natsgo "github.com/nats-io/nats.go"
)

// The schemes of URLs.
const (
	embedded = "embedded"
	plain    = "nats"
	secured  = "tls"
)

// The parameters of URLs.
const (
	paramHost      = "host"
	paramTokenFile = "token_file"
	paramCA        = "ca"
	paramCert      = "cert"
	paramKey       = "key"
)

// target is what a URL says of a connection. Equal targets share one.
type target struct {
	name      string // as logs and errors have it
	embedded  bool
	servers   string // comma-joined
	user      string // as in the URL, escaped; "" for none
	tokenFile string
	secure    bool
	ca        string
	cert, key string
}

// Redact returns u as logs and errors may show it: without a password, without
// a token, and without what parameters hold, which may be meant as one.
func Redact(u *url.URL) string {
	c := *u
	if c.User != nil {
		c.User = url.User("xxxxx")
	}
	c.RawQuery = ""
	return c.String()
}

// parse reads a URL that may have the named parameters besides those of a
// connection. Its errors begin with the URL.
func parse(u *url.URL, params []string) (target, error) {
	t, err := parseURL(u, params)
	if err != nil {
		return target{}, fmt.Errorf("nats: %s: %w", Redact(u), err)
	}
	return t, nil
}

func parseURL(u *url.URL, params []string) (target, error) {
	known := append([]string{paramCA, paramCert, paramHost, paramKey, paramTokenFile}, params...)
	switch u.Scheme {
	case plain, secured:
	case embedded:
		known = params
	default:
		return target{}, fmt.Errorf("unknown scheme %q; known: %s, %s, %s", u.Scheme, embedded, plain, secured)
	}
	query, err := parseQuery(u, known)
	if err != nil {
		return target{}, err
	}
	if u.Opaque != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return target{}, errors.New("it has parts that mean nothing; want scheme://host:port?parameter=value")
	}
	if u.Scheme == embedded {
		if u.Host != "" || u.User != nil {
			return target{}, errors.New("the embedded server has no host and takes no user")
		}
		return target{name: embedded + ":", embedded: true}, nil
	}
	return remote(u, query)
}

// parseQuery returns the parameters of u, all of which are known and, but for
// hosts, there once.
func parseQuery(u *url.URL, known []string) (url.Values, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("malformed parameters: %w", err)
	}
	for name, values := range query {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown parameter %q; known: %s", name, list(known))
		}
		if len(values) > 1 && name != paramHost {
			return nil, fmt.Errorf("parameter %q is there %d times", name, len(values))
		}
	}
	return query, nil
}

// remote reads the URL of servers elsewhere.
func remote(u *url.URL, query url.Values) (target, error) {
	hosts := append([]string{u.Host}, query[paramHost]...)
	for _, host := range hosts {
		if host == "" || strings.ContainsAny(host, "@/,? ") {
			return target{}, fmt.Errorf("host %q is not host:port", host)
		}
	}
	t := target{
		name:      Redact(&url.URL{Scheme: u.Scheme, User: u.User, Host: strings.Join(hosts, ",")}),
		servers:   u.Scheme + "://" + strings.Join(hosts, ","+u.Scheme+"://"),
		tokenFile: query.Get(paramTokenFile),
		ca:        query.Get(paramCA),
		cert:      query.Get(paramCert),
		key:       query.Get(paramKey),
	}
	t.secure = u.Scheme == secured || t.ca != "" || t.cert != ""
	if u.User != nil {
		t.user = u.User.String()
	}
	if t.user != "" && t.tokenFile != "" {
		return target{}, fmt.Errorf("it has both a user and %s; want one", paramTokenFile)
	}
	if (t.cert == "") != (t.key == "") {
		return target{}, fmt.Errorf("%s and %s go together", paramCert, paramKey)
	}
	return t, nil
}

// options returns the options of a connection to servers elsewhere. What the
// files hold is checked here, so that a mistake is no lost connection.
func (t target) options() ([]natsgo.Option, error) {
	var options []natsgo.Option
	if t.secure {
		cfg, err := t.tls()
		if err != nil {
			return nil, err
		}
		options = append(options, natsgo.Secure(cfg))
	}
	if t.tokenFile != "" {
		if _, err := readToken(t.tokenFile); err != nil {
			return nil, err
		}
		options = append(options, natsgo.TokenHandler(func() string {
			token, _ := readToken(t.tokenFile) // the server refuses an empty one, and says so
			return token
		}))
	}
	return options, nil
}

// tls returns what the files say: whom to trust, and who we are.
func (t target) tls() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.ca != "" {
		pem, err := os.ReadFile(t.ca)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", paramCA, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: %s holds no certificate in PEM", paramCA, t.ca)
		}
	}
	if t.cert != "" {
		pair, err := tls.LoadX509KeyPair(t.cert, t.key)
		if err != nil {
			return nil, fmt.Errorf("%s and %s: %w", paramCert, paramKey, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
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

// list names what is known, for errors.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(slices.Values(names)), ", ")
}
