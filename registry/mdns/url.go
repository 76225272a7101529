package mdns

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi/internal/urls"
)

const (
	paramDomain    = "domain"
	paramInterface = "interface"

	// maxParams bounds the domains, and the interfaces: each multiplies what is
	// sent.
	maxParams = 8
)

// A config is what a URL says.
type config struct {
	domains    []string // with a dot at the end; announced in the first
	interfaces []string
}

// CheckURL returns why Open would refuse a URL, as far as that shows without a
// connection.
func CheckURL(u *url.URL) error {
	if _, err := parseURL(u); err != nil {
		return fmt.Errorf("registry: %s: %w", urls.Redact(u), err)
	}
	return nil
}

// parseURL reads a URL of the form mdns:?domain=micro&interface=eth0.
func parseURL(u *url.URL) (*config, error) {
	if u.Host != "" || u.Opaque != "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("it takes no address: write mdns: and parameters")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("its parameters cannot be read: %w", err)
	}
	for name := range query {
		if name != paramDomain && name != paramInterface {
			return nil, fmt.Errorf("unknown parameter %q; known parameters: %s, %s", name, paramDomain, paramInterface)
		}
	}
	c := &config{domains: query[paramDomain], interfaces: query[paramInterface]}
	if len(c.domains) > maxParams || len(c.interfaces) > maxParams {
		return nil, fmt.Errorf("more than %d domains or interfaces", maxParams)
	}
	if slices.Contains(c.interfaces, "") {
		return nil, fmt.Errorf("%s is empty: give the name of one, such as eth0, or leave it out for all", paramInterface)
	}
	if len(c.domains) == 0 {
		c.domains = []string{"micro", "local"}
	}
	for i, domain := range c.domains {
		domain = strings.TrimSuffix(domain, ".")
		if len(domain) > maxDomain || !isName(domain) {
			return nil, fmt.Errorf("%s %q is not a domain of at most %d bytes, such as micro or local", paramDomain, domain, maxDomain)
		}
		c.domains[i] = domain + "."
	}
	return c, nil
}
