package config

import "strings"

// checkAuthHeaders notes headers that are to tell services of callers, and in which
// callers show who they are: the gateway takes them off before anybody looks.
func (f *File) checkAuthHeaders(d *decoder) {
	read := f.Identity.credentials()
	if len(read) == 0 {
		return
	}
	note := func(key, name string) {
		if by := read[folded(name)]; by != "" {
			d.wrongf(key, "%s reads credentials from %s, which is taken off what clients send; write another, such as X-User", by, name)
		}
	}
	f.eachPolicy(func(key string, p *Policy) {
		if p.Auth == nil {
			return
		}
		for _, name := range keysOf(p.Auth.Headers) {
			note(join(join(key, "auth.headers"), name), name)
		}
	})
	for _, external := range keysOf(f.Identity.External) {
		if x := f.Identity.External[external]; x != nil {
			for i, name := range x.Copy {
				note(index(join("identity.external", external)+".copy", i), name)
			}
		}
	}
}

// credentials returns the headers that authenticators read, folded, and which one
// does. Authorization and Cookie, which no service is told anything in, are left
// out.
func (id *Identity) credentials() map[string]string {
	read := map[string]string{}
	if id == nil {
		return read
	}
	for _, name := range keysOf(id.External) {
		x := id.External[name]
		if x == nil {
			continue // a mistake, which is noted
		}
		headers := x.Headers
		if headers == nil {
			headers = []string{defaultKeyHeader} // of the default, what may be told at all
		}
		for _, header := range headers {
			read[folded(header)] = join("identity.external", name)
		}
	}
	for _, name := range keysOf(id.Keys) {
		k := id.Keys[name]
		if k == nil {
			continue
		}
		header := k.Header
		if header == "" {
			header = defaultKeyHeader
		}
		read[folded(header)] = join("identity.keys", name)
	}
	return read
}

// defaultKeyHeader is the header that carries API keys where the file names none.
const defaultKeyHeader = "X-API-Key"

// folded returns the name of a header in the one form that all names have that a
// service might take for it.
func folded(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		}
		return '-'
	}, name)
}
