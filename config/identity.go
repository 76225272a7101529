//nolint:tagalign // tags are documentation: each is read on its own
package config

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/goapi-dev/goapi/middleware"
)

// Identity says who requests may come from, by kind and name.
type Identity struct {
	JWT      map[string]*JWT      `yaml:"jwt" keys:"name" doc:"Callers with JSON Web Tokens that somebody else has signed."`
	Keys     map[string]*Keys     `yaml:"keys" keys:"name" doc:"Callers with API keys."`
	Basic    map[string]*Basic    `yaml:"basic" keys:"name" doc:"Users with passwords."`
	MTLS     map[string]*MTLS     `yaml:"mtls" keys:"name" doc:"Callers with certificates, which the listener has verified."`
	External map[string]*External `yaml:"external" keys:"name" doc:"Another server that is asked about each request."`
}

// JWT says which tokens are valid.
type JWT struct {
	Algorithms  []string `yaml:"algorithms" items:"1" required:"true" enum:"RS256|RS384|RS512|PS256|PS384|PS512|ES256|ES384|ES512|EdDSA|HS256|HS384|HS512" doc:"What tokens may be signed with." example:"[RS256]"`
	Issuer      string   `yaml:"issuer" required:"true" format:"text" doc:"The iss of valid tokens; * is any." example:"\"https://login.example.com/\""`
	Audience    []string `yaml:"audience" items:"1" required:"true" format:"text" doc:"What the aud of valid tokens may be; * is any." example:"[api]"`
	JWKS        string   `yaml:"jwks" format:"url" doc:"URL of the issuer's keys: https, or http on this machine." example:"\"https://login.example.com/jwks.json\""`
	KeysFile    Path     `yaml:"keys_file" format:"file" doc:"File of the issuer's public keys: PEM, a JWK or a JWK set." example:"issuer.pem"`
	Secret      Secret   `yaml:"secret" doc:"The key of HS256, HS384 and HS512." example:"\"${JWT_SECRET}\""`
	SecretFile  Path     `yaml:"secret_file" format:"file" doc:"File whose first line is that key." example:"jwt.secret"`
	Skew        Duration `yaml:"skew" min:"1ms" max:"5m" doc:"By how much clocks may differ." default:"30s" example:"1m"`
	ScopeClaims []string `yaml:"scope_claims" format:"text" doc:"Claims that may list scopes; the first that is there does." default:"scope, scp, scopes" example:"[permissions]"`
	Subject     string   `yaml:"subject" format:"text" doc:"Claim that names the caller." default:"sub" example:"email"`
	Refresh     Duration `yaml:"refresh" min:"1s" max:"24h" doc:"How often the keys of jwks are asked for." default:"5m" example:"1h"`
	Cache       int      `yaml:"cache" min:"1" max:"1000000" doc:"Verified tokens that are remembered." default:"4096" example:"10000"`
	Realm       string   `yaml:"realm" format:"value" doc:"What the challenge names." default:"goapi" example:"api"`
}

// Keys say where API keys are.
type Keys struct {
	File   Path   `yaml:"file" format:"file" required:"true" doc:"File of keys, one a line, as goapi key prints them: owner, hash and scopes." example:"keys.txt"`
	Header string `yaml:"header" format:"header" doc:"Header that carries a key." default:"X-API-Key" example:"X-Key"`
	Query  string `yaml:"query" format:"text" doc:"Parameter of the query that may carry a key, which then stands in the logs of others." default:"none" example:"key"`
	Realm  string `yaml:"realm" format:"value" doc:"What the challenge names." default:"goapi" example:"api"`
}

// Basic says where users and their passwords are.
type Basic struct {
	File  Path   `yaml:"file" format:"file" required:"true" doc:"File of users, as htpasswd -B writes it." example:"users.htpasswd"`
	Realm string `yaml:"realm" format:"value" doc:"What browsers show." default:"goapi" example:"api"`
}

// MTLS says what of a certificate names the caller.
type MTLS struct {
	Subject []string `yaml:"subject" enum:"uri|dns|email|cn" doc:"Kinds of names, the first that a certificate has is taken." default:"uri, dns, cn" example:"[cn]"`
}

// External says what other server is asked.
type External struct {
	URL      string   `yaml:"url" format:"url" required:"true" doc:"Where a GET is sent." example:"\"http://127.0.0.1:9091/verify\""`
	Headers  []string `yaml:"headers" format:"header" doc:"Headers of the request that are sent along." default:"Authorization, Cookie, X-API-Key" example:"[Cookie]"`
	Copy     []string `yaml:"copy" format:"header" doc:"Headers of the answer that become claims, and that the service gets to see." default:"none" example:"[X-Tenant]"`
	Subject  string   `yaml:"subject" format:"header" doc:"Header of the answer that names the caller." default:"Remote-User" example:"X-User"`
	Scopes   string   `yaml:"scopes" format:"header" doc:"Header of the answer that lists scopes." default:"none" example:"X-Scopes"`
	Timeout  Duration `yaml:"timeout" min:"1ms" max:"1m" doc:"Time for the answer." default:"3s" example:"1s"`
	InFlight int      `yaml:"in_flight" min:"1" max:"100000" doc:"Questions at a time; requests beyond are answered with 503." default:"256" example:"1000"`
}

// check implements checker.
func (j *JWT) check(d *decoder, key string) {
	sources := 0
	for _, given := range []bool{j.JWKS != "", j.KeysFile != "", j.Secret != ""} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		d.wrongf(key, "%d of jwks, keys_file and secret are there; write one of them", sources)
		return
	}
	for i, alg := range j.Algorithms {
		shared := strings.HasPrefix(alg, "HS")
		switch at := index(join(key, "algorithms"), i); {
		case shared && j.Secret == "":
			d.wrongf(at, "%s needs a secret; write secret_file, or an algorithm with a public key such as RS256", alg)
		case !shared && j.Secret != "":
			d.wrongf(at, "%s is verified with a public key, not with a secret; write jwks or keys_file, or HS256", alg)
		}
	}
	if least := 32; j.Secret != "" && len(j.Secret) < least {
		name := "secret"
		if j.SecretFile != "" {
			name = "secret_file"
		}
		d.wrongf(join(key, name), "the secret is shorter than %d bytes, and could be guessed; write a longer one", least)
	}
	if loopback := strings.HasPrefix(j.JWKS, "http://"); loopback && !isLoopback(j.JWKS) {
		d.wrongf(join(key, "jwks"), "who is on the way could change the keys; write https://")
	}
	j.checkKeys(d, key)
}

// checkKeys looks whether a file of keys may be one.
func (j *JWT) checkKeys(d *decoder, key string) {
	if j.KeysFile == "" {
		return
	}
	text, err := d.inputs.read(string(j.KeysFile))
	if err != nil {
		return // it was there a moment ago; whoever reads it says so
	}
	if bytes.Contains(text, []byte("PRIVATE KEY-----")) {
		d.wrongf(join(key, "keys_file"), "it holds a private key; name a file of public ones")
	} else if !bytes.Contains(text, []byte("-----BEGIN ")) && !json.Valid(text) {
		d.wrongf(join(key, "keys_file"), "it is neither PEM nor JSON; name a file of public keys, a JWK or a JWK set")
	}
}

// check implements checker.
func (k *Keys) check(d *decoder, key string) {
	text, err := d.inputs.read(string(k.File))
	if err != nil {
		return // see JWT.checkKeys
	}
	right := "any " + middleware.HashKey("") // a file that is right
	if _, err := middleware.NewKeys(strings.NewReader(right), k.Options()); err != nil {
		d.wrongf(key, "%s", plain(err))
	} else if _, err := middleware.NewKeys(bytes.NewReader(text), k.Options()); err != nil {
		d.wrongf(join(key, "file"), "%s", plain(err))
	}
}

// Options returns the options of middleware.NewKeys.
func (k *Keys) Options() *middleware.KeysOptions {
	return &middleware.KeysOptions{Header: k.Header, Query: k.Query, Realm: k.Realm}
}

// check implements checker.
func (b *Basic) check(d *decoder, key string) {
	text, err := d.inputs.read(string(b.File))
	if err != nil {
		return // see JWT.checkKeys
	}
	if _, err := middleware.NewBasic(bytes.NewReader(text), b.Realm); err != nil {
		d.wrongf(join(key, "file"), "%s", plain(err))
	}
}

// check implements checker.
func (x *External) check(d *decoder, key string) {
	if _, err := middleware.NewExternal(x.URL, x.Options()); err != nil {
		d.wrongf(key, "%s", plain(err))
	}
}

// Options returns the options of middleware.NewExternal.
func (x *External) Options() *middleware.ExternalOptions {
	return &middleware.ExternalOptions{
		Headers: x.Headers, Copy: x.Copy, Subject: x.Subject, Scopes: x.Scopes,
		Timeout: time.Duration(x.Timeout), InFlight: x.InFlight,
	}
}

// Names returns what auth.any may name: KIND/NAME, in order.
func (id *Identity) Names() []string {
	if id == nil {
		return nil
	}
	var list []string
	add := func(kind string, names []string) {
		for _, name := range names {
			list = append(list, kind+"/"+name)
		}
	}
	add("jwt", keysOf(id.JWT))
	add("keys", keysOf(id.Keys))
	add("basic", keysOf(id.Basic))
	add("mtls", keysOf(id.MTLS))
	add("external", keysOf(id.External))
	slices.Sort(list)
	return list
}
