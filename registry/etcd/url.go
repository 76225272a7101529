package etcd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"unicode"

	"github.com/goapi-dev/goapi/internal/urls"
)

// The schemes of URLs.
const (
	plain   = "etcd"
	secured = "etcds"
)

// paramPrefix is the parameter that is this registry's own.
const paramPrefix = "prefix"
const (
	defaultPort   = "2379"
	defaultPrefix = "/micro/registry"
)

// target is what a URL says of a registry.
type target struct {
	name           string   // as errors have it
	hosts          []string // host:port
	user, password string   // "" for none
	passwordFile   string   // "" for none
	prefix         string   // ends with "/"
	tls            *tls.Config
}

// CheckURL returns why Open would refuse a URL, as far as that shows without a
// connection. Files that the URL names are read.
func CheckURL(u *url.URL) error {
	_, err := parse(u)
	return err
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
	query, err := urls.Params(u, urls.CA, urls.Cert, urls.Host, urls.Key, urls.PasswordFile, paramPrefix)
	if err != nil {
		return target{}, err
	}
	if u.Opaque != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return target{}, fmt.Errorf("it has parts that mean nothing; want %s://host:port?parameter=value", u.Scheme)
	}
	var t target
	for _, host := range append([]string{u.Host}, query[urls.Host]...) {
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
	t.passwordFile = query.Get(urls.PasswordFile)
	if err := t.parseUser(u.User); err != nil {
		return target{}, err
	}
	t.tls, err = urls.TLS(u.Scheme == secured, query)
	return t, err
}

// parseUser reads who is to log in. The file of the password is looked into, so
// that a mistake is no lost connection.
func (t *target) parseUser(user *url.Userinfo) error {
	t.user = user.Username()
	if user != nil {
		t.password, _ = user.Password()
	}
	switch {
	case t.password != "" && t.passwordFile != "":
		return fmt.Errorf("it has both a password and %s; want one", urls.PasswordFile)
	case (t.user == "") != (t.password == "" && t.passwordFile == ""):
		return errors.New("a user and a password go together")
	case t.passwordFile != "":
		_, err := urls.Secret(urls.PasswordFile, t.passwordFile)
		return err
	}
	return nil
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
