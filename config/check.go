package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func itoa(n int) string { return strconv.Itoa(n) }

// index returns the key of an element of a list.
func index(key string, i int) string { return key + "[" + itoa(i) + "]" }

// keysOf returns the keys of a map in order.
func keysOf[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// check notes what is wrong between the parts of the file.
func (f *File) check(d *decoder) {
	f.checkServer(d)
	f.checkIdentity(d)
	f.checkAuthHeaders(d)
	f.checkPatterns(d)
	f.checkRoutes(d)
	for _, name := range keysOf(f.Service) {
		if s := f.Service[name]; s != nil && strings.HasPrefix(name, staticPrefix) {
			d.wrongf(join("services", name), "the policy of a route of this file stands in routes; write it there")
		}
	}
	f.eachPolicy(func(key string, p *Policy) { f.checkPolicy(d, key, p) })
	for i, name := range f.Metadata {
		if slices.Index(f.Metadata, name) != i {
			d.wrongf(index("metadata", i), "%s is there twice; remove one", name)
		}
	}
}

// eachPolicy calls f with each policy of the file and its key.
func (f *File) eachPolicy(do func(key string, p *Policy)) {
	if f.Policy != nil {
		do("policy", f.Policy)
	}
	for i := range f.Patterns {
		do(index("patterns", i), &f.Patterns[i].Policy)
	}
	for _, name := range keysOf(f.Service) {
		s := f.Service[name]
		if s == nil {
			continue // a mistake, which is noted
		}
		key := join("services", name)
		do(key, &s.Policy)
		for _, endpoint := range keysOf(s.Endpoints) {
			if p := s.Endpoints[endpoint]; p != nil {
				do(join(key+".endpoints", endpoint), p)
			}
		}
	}
	for i := range f.Routes {
		do(index("routes", i), &f.Routes[i].Policy)
	}
}

// checkPolicy notes what a policy cannot say where it stands, and what it names
// that the file does not have.
func (f *File) checkPolicy(d *decoder, key string, p *Policy) {
	if p.HealthCheck != nil && (strings.HasPrefix(key, "patterns") || strings.Contains(key, ".endpoints.")) {
		d.wrongf(join(key, "health_check"), "nodes are probed for a service as a whole; write it in services or in policy")
	}
	known := f.Identity.Names()
	if p.Auth != nil {
		for i, name := range p.Auth.Any {
			switch {
			case name == "" || slices.Contains(known, name):
			case len(known) == 0:
				d.wrongf(index(join(key, "auth.any"), i), "there is no authenticator %q; write one in identity", name)
			default:
				d.wrongf(index(join(key, "auth.any"), i), "there is no authenticator %q in identity; %s", name, instead(name, known))
			}
		}
	}
	for i, l := range p.RateLimit {
		if name, ok := strings.CutPrefix(l.Key, "header:"); ok && f.told(name) {
			d.wrongf(index(join(key, "rate_limit"), i)+".key", "%s is what auth tells services, and not what clients say; write subject, or claim:NAME", name)
		}
		if l.late() && len(known) == 0 {
			d.wrongf(index(join(key, "rate_limit"), i)+".key", "%s is never known, as the file has no identity; write one, or the key client", l.Key)
		}
	}
}

// told says whether an auth of the file sets a header.
func (f *File) told(name string) bool {
	told := false
	f.eachPolicy(func(_ string, p *Policy) {
		if p.Auth == nil {
			return
		}
		for header := range p.Auth.Headers {
			told = told || strings.EqualFold(header, name)
		}
	})
	return told
}

// unfollow forgets the files of certificates and of those who vouch for clients:
// the server follows them by itself.
func (f *File) unfollow() {
	paths := []Path{f.TLSCert, f.TLSKey}
	if f.TLS != nil {
		paths = append(paths, f.TLS.ClientCA)
		for _, c := range f.TLS.Certificates {
			paths = append(paths, c.Cert, c.Key)
		}
	}
	for _, path := range paths {
		delete(f.inputs, string(path))
	}
}

// checkServer notes what settings of the server do not go together.
func (f *File) checkServer(d *decoder) {
	pair := func(certKey, keyKey string, cert, key Path) {
		switch _, hasCert := d.places[certKey]; {
		case cert == "" && key == "":
		case key == "" && !d.failed[keyKey]:
			d.wrongf(certKey, "it has no private key; write %s, too", keyKey[strings.LastIndexByte(keyKey, '.')+1:])
		case cert == "" && !hasCert:
			d.wrongf(keyKey, "it has no certificate; write %s, too", certKey[strings.LastIndexByte(certKey, '.')+1:])
		case cert != "" && key != "":
			if err := d.inputs.pair(cert, key); err != nil {
				d.wrongf(certKey, "%s", err)
			}
		}
	}
	pair("tls_cert", "tls_key", f.TLSCert, f.TLSKey)
	pair("upstream_cert", "upstream_key", f.UpstreamCert, f.UpstreamKey)
	d.authorities("upstream_ca", f.UpstreamCA)
	listeners := []struct{ key, address string }{{"address", f.Address}, {"admin", f.Admin}, {"nats", f.NATS}}
	if f.TLS != nil {
		listeners = append(listeners, struct{ key, address string }{"tls.http", f.TLS.HTTP})
	}
	for i, l := range listeners {
		for _, other := range listeners[:i] {
			if l.address != "" && l.address != "off" && l.address == other.address && !strings.HasSuffix(l.address, ":0") {
				d.wrongf(l.key, "%s has this address, too; write another", other.key)
			}
		}
	}
	if f.Identity == nil {
		return
	}
	for _, name := range keysOf(f.Identity.MTLS) {
		if f.TLS == nil || f.TLS.ClientCA == "" && !d.failed["tls.client_ca"] {
			d.wrongf(join("identity.mtls", name), "no certificate of a client is ever verified; write tls.client_ca, too")
		}
	}
}

// authorities notes a file that holds no certificates.
func (d *decoder) authorities(key string, file Path) {
	if file == "" {
		return
	}
	text, err := d.inputs.read(string(file))
	if err != nil {
		return // see JWT.checkKeys
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		d.wrongf(key, "it holds no certificate; name a PEM file of those who signed")
	}
}

// pair returns what is wrong with the files of a certificate and its key.
func (in inputs) pair(cert, key Path) error {
	certificate, err := in.read(string(cert))
	if err != nil {
		return err
	}
	private, err := in.read(string(key))
	if err != nil {
		return err
	}
	if _, err := tls.X509KeyPair(certificate, private); err != nil {
		return fmt.Errorf("it is no certificate with its key (%s); name PEM files that belong together", strings.TrimPrefix(err.Error(), "tls: "))
	}
	return nil
}

// check implements checker.
func (t *TLS) check(d *decoder, key string) {
	switch {
	case t.ClientAuth == "none" && t.ClientCA != "":
		d.wrongf(join(key, "client_auth"), "client_ca is there, and nobody is asked; write request or require, or remove client_ca")
	case t.ClientAuth != "" && t.ClientAuth != "none" && t.ClientCA == "":
		d.wrongf(join(key, "client_auth"), "certificates of clients cannot be verified; write client_ca, too")
	}
	d.authorities(join(key, "client_ca"), t.ClientCA)
}

// check implements checker.
func (c *Certificate) check(d *decoder, key string) {
	if err := d.inputs.pair(c.Cert, c.Key); err != nil {
		d.wrongf(key, "%s", err)
	}
}

// check implements checker.
func (a *ACME) check(d *decoder, key string) {
	d.authorities(join(key, "ca_root"), a.CARoot)
	if len(a.Domains)+len(a.OnDemandAllow) == 0 {
		d.wrongf(key, "there is nothing to have a certificate for; write domains or on_demand_allow")
	}
	if a.Replicas != 0 && a.Storage != "nats" {
		d.wrongf(join(key, "replicas"), "it is of storage nats; write that, too, or remove it")
	}
	if a.CA != "" && !strings.HasPrefix(a.CA, "https://") {
		d.wrongf(join(key, "ca"), "who is on the way could issue certificates; write https://")
	}
	for i, domain := range a.Domains {
		switch _, err := netip.ParseAddr(domain); {
		case strings.HasPrefix(domain, "*."):
			d.wrongf(index(join(key, "domains"), i), "a certificate for %s needs a challenge over DNS; write the names, or put it in on_demand_allow", domain)
		case err == nil:
			d.wrongf(index(join(key, "domains"), i), "%s is an address; write the name of a host", domain)
		case a.CA == "" && !strings.Contains(domain, "."): // authorities of one's own may have it
			d.wrongf(index(join(key, "domains"), i), "no public authority issues a certificate for %s; write a name with a domain, such as api.example.com", domain)
		}
	}
}

// check implements checker.
func (e *EAB) check(d *decoder, key string) {
	if e.MACKey == "" {
		d.wrongf(key, "it has no key; write mac_key_file")
		return
	}
	if _, err := base64.RawURLEncoding.DecodeString(string(e.MACKey)); err != nil {
		name := "mac_key"
		if e.MACKeyFile != "" {
			name = "mac_key_file"
		}
		d.wrongf(join(key, name), "the key is not in base64url without padding; write it as the authority shows it")
	}
}

// check implements checker.
func (a *AccessLog) check(d *decoder, key string) {
	switch {
	case a.File != "" && a.Output != "":
		d.wrongf(join(key, "file"), "output is there, too; write one of the two")
	case a.Output == "off" && (a.Sample != nil || a.Query || a.Buffer != 0):
		d.wrongf(join(key, "output"), "off goes with nothing else; write output: off alone, or remove it")
	}
	if a.File == "" {
		return
	}
	if dir, err := os.Stat(filepath.Dir(string(a.File))); err != nil || !dir.IsDir() {
		d.wrongf(join(key, "file"), "its directory is not there; make it, or name a file elsewhere")
	} else if file, err := os.Stat(string(a.File)); err == nil && file.IsDir() {
		d.wrongf(join(key, "file"), "it is a directory; name a file in it")
	}
}

// check implements checker.
func (m *Metrics) check(d *decoder, key string) {
	if m.Off && (m.Buckets != nil || m.Native || m.Nodes) {
		d.wrongf(join(key, "off"), "it goes with nothing else; write off: true alone, or remove it")
	}
	for i := 1; i < len(m.Buckets); i++ {
		if m.Buckets[i] <= m.Buckets[i-1] {
			d.wrongf(index(join(key, "buckets"), i), "it is not above the one before; write the smaller first")
		}
	}
}

// check implements checker.
func (t *Tracing) check(d *decoder, key string) {
	d.authorities(join(key, "ca"), t.CA)
	if t.Endpoint == "" {
		return
	}
	u, err := url.Parse(t.Endpoint)
	if err != nil || u.Host == "" {
		d.wrongf(join(key, "endpoint"), "want a URL such as http://127.0.0.1:4318")
		return
	}
	if u.User != nil {
		d.wrongf(join(key, "endpoint"), "a URL with a password stands in logs; write headers: {Authorization: …}")
	}
	if t.CA != "" && (u.Scheme == "http" || u.Scheme == "grpc") {
		d.wrongf(join(key, "ca"), "%s:// shows no certificate; write %ss://, or remove it", u.Scheme, u.Scheme)
	}
}

// check implements checker.
func (l *Limits) check(d *decoder, key string) {
	if l.PerClient > 0 && l.InFlight > 0 && l.PerClient > l.InFlight {
		d.wrongf(join(key, "per_client"), "%d is more than in_flight, %d; write less", l.PerClient, l.InFlight)
	}
	if l.ConnectionsPerClient > 0 && l.Connections > 0 && l.ConnectionsPerClient > l.Connections {
		d.wrongf(join(key, "connections_per_client"), "%d is more than connections, %d; write less", l.ConnectionsPerClient, l.Connections)
	}
	if l.HeaderBytes > 0 && l.URLBytes > l.HeaderBytes {
		d.wrongf(join(key, "url_bytes"), "%s is more than header_bytes, %s, which the target is part of; write less", l.URLBytes, l.HeaderBytes)
	}
}

// checkIdentity notes names that several kinds of authenticators cannot share.
func (f *File) checkIdentity(d *decoder) {
	if f.Identity != nil && len(f.Identity.Names()) == 0 && len(d.mistakes) == 0 {
		d.wrongf("identity", "nobody is in it; write jwt, keys, basic, mtls or external, or remove it")
	}
}

// checkPatterns notes patterns that are none, and policies for the same one.
func (f *File) checkPatterns(d *decoder) {
	if len(f.Patterns) > maxPatterns {
		d.wrongf("patterns", "there are %d, and each request is held against all; write at most %d", len(f.Patterns), maxPatterns)
		return
	}
	first := make(map[string]int, len(f.Patterns))
	for i, pat := range f.Patterns {
		key := index("patterns", i) + ".match"
		if pat.Match == "" {
			continue // a mistake, which is noted
		}
		p, err := parsePattern(pat.Match)
		if err != nil {
			d.wrongf(key, "%s", err)
			continue
		}
		if before, ok := first[p.shape()]; ok {
			d.wrongf(key, "patterns[%d], on line %d, matches the same requests; write one policy for them", before, d.places[index("patterns", before)].line)
			continue
		}
		first[p.shape()] = i
	}
}

// isLoopback says whether a URL leads to this machine.
func isLoopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// port returns what is wrong with the port of HOST:PORT.
func port(address string) error {
	if address == "off" {
		return nil
	}
	n, err := strconv.Atoi(address[strings.LastIndexByte(address, ':')+1:])
	if err != nil || n > 65535 {
		return errors.New("a port from 0 to 65535")
	}
	return nil
}
