// Package urls reads the URLs by which other systems are named, and the files
// that their parameters name. What is wrong is an error that shows the name of a
// parameter and never its value, which may be meant as a secret.
package urls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
)

// The parameters that URLs have in common.
const (
	// Host is another server of the same system. It may be there more than once.
	Host = "host"
	// CA, Cert and Key name files in PEM: whom to trust, and who we are.
	CA   = "ca"
	Cert = "cert"
	Key  = "key"
	// TokenFile and PasswordFile name files that hold a secret: a command line is
	// no place for one.
	TokenFile    = "token_file"
	PasswordFile = "password_file"
)

// Redact returns u as logs and errors may show it: without a password, without
// a token, and without what parameters hold, which may be meant as one. Where a
// slash is missing, or one too many, so that a password is no part of its own,
// nothing is left of what stands before the "@".
func Redact(u *url.URL) string {
	c := *u
	if c.User != nil {
		c.User = url.User("xxxxx")
	}
	c.RawQuery, c.ForceQuery = "", false
	rest := c.Opaque + c.EscapedPath() + c.EscapedFragment()
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		return c.Scheme + ":xxxxx" + rest[i:]
	}
	return c.String()
}

// Params returns the parameters of u, all of which are known and, but for
// hosts, there once.
func Params(u *url.URL, known ...string) (url.Values, error) {
	params, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the parameters are malformed")
	}
	for name, values := range params {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown parameter %q; known: %s", name, list(known))
		}
		if len(values) > 1 && name != Host {
			return nil, fmt.Errorf("parameter %q is there %d times", name, len(values))
		}
	}
	return params, nil
}

// list names what is known, for errors.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(slices.Values(names)), ", ")
}

// TLS returns what the parameters say of TLS. It is nil for connections without:
// when TLS is not insisted upon, and no file is named. The files are read here,
// so that a mistake is no lost connection; Cert and Key are read again for each
// connection, since certificates are replaced while we run.
func TLS(insist bool, params url.Values) (*tls.Config, error) {
	ca, cert, key := params.Get(CA), params.Get(Cert), params.Get(Key)
	if (cert == "") != (key == "") {
		return nil, fmt.Errorf("%s and %s go together", Cert, Key)
	}
	if !insist && ca == "" && cert == "" {
		return nil, nil //nolint:nilnil // nil is no TLS
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca) //nolint:gosec // the operator names it
		if err != nil {
			return nil, fmt.Errorf("%s: %w", CA, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: %s holds no certificate in PEM", CA, ca)
		}
	}
	if cert != "" {
		load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				return nil, fmt.Errorf("%s and %s: %w", Cert, Key, err)
			}
			return &pair, nil
		}
		if _, err := load(nil); err != nil {
			return nil, err
		}
		cfg.GetClientCertificate = load
	}
	return cfg, nil
}

// Secret returns what a file holds that a parameter names, less the white space
// around it.
func Secret(param, file string) (string, error) {
	data, err := os.ReadFile(file) //nolint:gosec // the operator names it
	if err != nil {
		return "", fmt.Errorf("%s: %w", param, err)
	}
	secret := strings.TrimSpace(string(data))
	if secret == "" {
		return "", fmt.Errorf("%s: %s is empty", param, file)
	}
	return secret, nil
}
