package jwt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

const (
	// maxSet bounds the answer with a JWK set, and maxSetHeader its head.
	maxSet       = 256 << 10
	maxSetHeader = 64 << 10
	// fetchTimeout bounds a try to have it.
	fetchTimeout = 5 * time.Second
	// maxRedirects bounds how often an issuer may say that its keys are
	// elsewhere.
	maxRedirects = 3
)

// fetcher has a JWK set from a URL.
type fetcher struct {
	url    string
	client *http.Client
}

func newFetcher(address string, transport http.RoundTripper) (*fetcher, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the URL of the keys is none: write one such as https://issuer.example/.well-known/jwks.json")
	}
	if err := checkURL(u); err != nil {
		return nil, err
	}
	if transport == nil {
		transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			TLSHandshakeTimeout:    2 * time.Second,
			MaxResponseHeaderBytes: maxSetHeader,
			DisableKeepAlives:      true, // minutes pass between requests
			ForceAttemptHTTP2:      true,
		}
	}
	return &fetcher{url: u.String(), client: &http.Client{
		Transport: transport,
		Timeout:   fetchTimeout,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Scheme != via[0].URL.Scheme {
				return errors.New("it redirects to another scheme, which is not followed")
			}
			if len(via) > maxRedirects {
				return errors.New("it redirects too often")
			}
			return checkURL(r.URL)
		},
	}}, nil
}

// checkURL returns why nobody can trust what a URL answers, or nil.
func checkURL(u *url.URL) error {
	switch {
	case u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the URL of the keys is none: write one such as https://issuer.example/.well-known/jwks.json")
	case u.User != nil:
		return errors.New("the URL of the keys has a password: public keys need none, leave it out")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("the URL of the keys is http, which anybody on the way can answer: write https")
	}
	return nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// fetch returns the keys that can be used, and why others cannot.
func (f *fetcher) fetch(ctx context.Context) (*keySet, []error, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	r.Header.Set("User-Agent", "goapi")
	answer, err := f.client.Do(r)
	if err != nil {
		return nil, nil, fmt.Errorf("jwt: keys: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("jwt: keys: %s answered %d", f.url, answer.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxSet+1))
	if err != nil {
		return nil, nil, fmt.Errorf("jwt: keys: %s: %w", f.url, err)
	}
	if len(raw) > maxSet {
		return nil, nil, fmt.Errorf("jwt: keys: %s answered more than %d bytes", f.url, maxSet)
	}
	keys, skipped, err := decodeSet(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("jwt: keys: %s: %w", f.url, err)
	}
	return keys, skipped, nil
}
