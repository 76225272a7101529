package nats

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/internal/urls"
)

// The schemes of URLs.
const (
	embedded = "embedded"
	plain    = "nats"
	secured  = "tls"
)

// target is what a URL says of a connection. Equal targets share one.
type target struct {
	name      string // as logs and errors have it
	embedded  bool
	servers   string // comma-joined
	user      string // as in the URL, escaped; "" for none
	secure    bool
	ca        string
	cert, key string

	tokenFile, passwordFile string // "" for none
}

// Redact returns u as logs and errors may show it: without a password, without
// a token, and without what parameters hold, which may be meant as one. Of a URL
// without // nothing is left that stands before an "@".
func Redact(u *url.URL) string {
	return urls.Redact(u)
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
	known := append([]string{urls.CA, urls.Cert, urls.Host, urls.Key, urls.PasswordFile, urls.TokenFile}, params...)
	switch u.Scheme {
	case plain, secured:
	case embedded:
		known = params
	default:
		return target{}, fmt.Errorf("unknown scheme %q; known: %s, %s, %s", u.Scheme, embedded, plain, secured)
	}
	query, err := urls.Params(u, known...)
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

// remote reads the URL of servers elsewhere.
func remote(u *url.URL, query url.Values) (target, error) {
	hosts := append([]string{u.Host}, query[urls.Host]...)
	for _, host := range hosts {
		if at := strings.LastIndexByte(host, '@'); at >= 0 { // a user is not for every server
			return target{}, fmt.Errorf("host %q is not host:port", "xxxxx"+host[at:])
		}
		if host == "" || strings.ContainsAny(host, "/,? ") {
			return target{}, fmt.Errorf("host %q is not host:port", host)
		}
	}
	t := target{
		name:    Redact(&url.URL{Scheme: u.Scheme, User: u.User, Host: strings.Join(hosts, ",")}),
		servers: u.Scheme + "://" + strings.Join(hosts, ","+u.Scheme+"://"),
		secure:  u.Scheme == secured,
		ca:      query.Get(urls.CA),
		cert:    query.Get(urls.Cert),
		key:     query.Get(urls.Key),

		tokenFile:    query.Get(urls.TokenFile),
		passwordFile: query.Get(urls.PasswordFile),
	}
	if u.User != nil {
		t.user = u.User.String()
	}
	_, password := u.User.Password()
	switch {
	case t.user != "" && t.tokenFile != "":
		return target{}, fmt.Errorf("it has both a user and %s; want one", urls.TokenFile)
	case t.passwordFile != "" && (u.User.Username() == "" || password):
		return target{}, fmt.Errorf("%s goes with a user that has no password", urls.PasswordFile)
	case (t.cert == "") != (t.key == ""):
		return target{}, fmt.Errorf("%s and %s go together", urls.Cert, urls.Key)
	}
	return t, nil
}

// options returns the options of a connection to servers elsewhere. What the
// files hold is checked here, so that a mistake is no lost connection.
func (t target) options(user *url.Userinfo) ([]natsgo.Option, error) {
	cfg, err := urls.TLS(t.secure, url.Values{urls.CA: {t.ca}, urls.Cert: {t.cert}, urls.Key: {t.key}})
	if err != nil {
		return nil, err
	}
	var options []natsgo.Option
	if cfg != nil {
		options = append(options, natsgo.Secure(cfg))
	}
	password, known := user.Password()
	switch {
	case t.tokenFile != "":
		read, err := secret(urls.TokenFile, t.tokenFile)
		if err != nil {
			return nil, err
		}
		options = append(options, natsgo.TokenHandler(read))
	case t.passwordFile != "":
		read, err := secret(urls.PasswordFile, t.passwordFile)
		if err != nil {
			return nil, err
		}
		options = append(options, natsgo.UserInfoHandler(func() (string, string) { return user.Username(), read() }))
	case known:
		options = append(options, natsgo.UserInfo(user.Username(), password))
	case user != nil:
		options = append(options, natsgo.Token(user.Username()))
	}
	return options, nil
}

// secret returns a function that reads a file at each connect, which can be read
// now. The server refuses an empty secret, and says so.
func secret(param, file string) (read func() string, err error) {
	_, err = urls.Secret(param, file)
	return func() string {
		text, _ := urls.Secret(param, file)
		return text
	}, err
}
