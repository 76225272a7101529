package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/middleware"
)

func TestLoadFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "empty.yaml", "")
	write(t, dir, "comment.yaml", "# nothing\n")
	write(t, dir, "bom.yaml", "\ufeffaddress: \":1\"\n")
	write(t, dir, "crlf.yaml", "address: \":1\"\r\nzzz: 1\r\n")
	write(t, dir, "large.yaml", strings.Repeat("# comment\n", 110_000))
	write(t, dir, "utf16.yaml", "\xff\xfea\x00")
	write(t, dir, "latin1.yaml", "namespace: caf\xe9\n")
	write(t, dir, "bell.yaml", "namespace: a\a\n")
	write(t, dir, "escape.yaml", "namespace: \"a\\0\"\n")
	if err := os.Mkdir(filepath.Join(dir, "d.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, want string }{
		{"empty.yaml", ""},
		{"comment.yaml", ""},
		{"bom.yaml", ""},
		{"crlf.yaml", `crlf.yaml:2:1: zzz: unknown key; known: address`},
		{"large.yaml", "large.yaml: it has more than 1MiB; give a file in YAML of at most 1MiB"},
		{"utf16.yaml", "utf16.yaml:1:1: it is not in UTF-8; save it as that"},
		{"latin1.yaml", "latin1.yaml:1:15: it is not in UTF-8; save it as that"},
		{"bell.yaml", "bell.yaml:1:13: there is a control character; remove it"},
		{"escape.yaml", `escape.yaml:1:12: namespace: "a\x00": want a text without line breaks`},
		{"d.yaml", "d.yaml: it is a directory; give a file"},
		{"missing.yaml", "missing.yaml: it is not there; give a file"},
		{"empty.yaml/x", "empty.yaml/x: not a directory; give a file"},
	}
	for _, tt := range tests {
		f, err := config.Load(filepath.Join(dir, tt.name), noEnv)
		if tt.want == "" {
			if err != nil || f == nil || f.Name() != filepath.Join(dir, tt.name) {
				t.Errorf("Load(%s) = %v, %v, want a file", tt.name, f, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(strings.TrimPrefix(err.Error(), dir+"/"), tt.want) {
			t.Errorf("Load(%s) error = %v, want %s", tt.name, err, tt.want)
		}
	}
}

func TestParseTooLarge(t *testing.T) {
	_, err := config.Parse("big.yaml", []byte(strings.Repeat("# comment\n", 110_000)), noEnv)
	if err == nil || err.Error() != "big.yaml: it has more than 1MiB; write less" {
		t.Errorf("Parse error = %v, want that it is too large", err)
	}
}

// TestAliases: what few lines stand for has an end.
func TestAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("metadata: &a0 [timeout]\n")
	for i := 1; i < 30; i++ {
		alias := fmt.Sprintf("*a%d", i-1)
		fmt.Fprintf(&b, "x%d: &a%d [%s]\n", i, i, strings.Repeat(alias+", ", 9)+alias)
	}
	tests := []struct{ name, text, want string }{
		{"of unknown keys", b.String(), "x1: unknown key"},
		{"many of one policy", "services:\n  a0: &a\n    endpoints: &e\n" + many("      E%d: {timeout: 5s}\n", 500) + many("  b%d: *a\n", 500), "there are too many values, aliases included; write fewer"},
		{"itself", "routes: &r [*r]\n", "want keys and values, one below the other; not a list"},
		{"services in services", "services: &s {a: *s}\n", "services.a.a: unknown key; known:"},
		{"of a list", "publish: &p [a, b]\nsubscribe: *p\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.Parse("goapi.yaml", []byte(tt.text), noEnv)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Parse error = %.300v, want %q", err, tt.want)
			}
		})
	}
}

func many(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// TestDeep: a text that nests without end is no reason to end.
func TestDeep(t *testing.T) {
	for _, text := range []string{strings.Repeat("[", 9000), strings.Repeat("{a: ", 9000), strings.Repeat("- ", 9000) + "a", "policy: " + strings.Repeat("{policy: ", 900)} {
		if _, err := config.Parse("goapi.yaml", []byte(text), noEnv); err == nil {
			t.Errorf("Parse(%.20q…) error = nil, want one", text)
		}
	}
}

func TestVariables(t *testing.T) {
	env := environment(map[string]string{"A": "a", "EMPTY": "", "DOLLAR": "${A}", "N": "7", "YAML": "x, y: [z]", "YES": "true"})
	tests := []struct{ text, want string }{
		{"${A}", "a"},
		{"x${A}y${A}z", "xayaz"},
		{"${A:-b}", "a"},
		{"${B:-b}", "b"},
		{"${B:-}", ""},
		{"${EMPTY:-b}", "b"},
		{"${EMPTY}", ""},
		{"${B:-http://x:1/y}", "http://x:1/y"},
		{"${DOLLAR}", "${A}"},
		{"$${A}", "${A}"},
		{"$$", "$"},
		{"$A", "$A"},
		{"a$", "a$"},
		{"$1", "$1"},
		{"${YAML}", "x, y: [z]"},
		{"${B:-$}", "$"},
	}
	for _, tt := range tests {
		f, err := config.Parse("goapi.yaml", []byte("namespace: '"+tt.text+"'\n"), env)
		if err != nil || f.Namespace != tt.want {
			t.Errorf("%q is %v, %v; want %q", tt.text, f, err, tt.want)
		}
	}
	f, err := config.Parse("goapi.yaml", []byte("limits: {in_flight: '${N}'}\naccess_log: {query: \"${YES}\", sample: \"0.${N}\"}\nservices: {'${A}': {timeout: '${N}s'}}\n"), env)
	if err != nil {
		t.Fatal(err)
	}
	if f.Limits.InFlight != 7 || !f.AccessLog.Query || *f.AccessLog.Sample != 0.7 || *f.Service["${A}"].Timeout != config.Duration(7*time.Second) {
		t.Errorf("Parse = %v; want the variables in numbers, truths and times, and keys as they are", f)
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	inputs(t, dir)
	f, err := config.Parse(dir+"/goapi.yaml", []byte("identity: {jwt: {a: {algorithms: HS256, issuer: '*', audience: '*', secret_file: jwt.secret}}}\nregistry: 'nats://u:hunter2@h:1'\n"), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	j := f.Identity.JWT["a"]
	if string(j.Secret) != "0123456789abcdef0123456789abcdef" {
		t.Errorf("the secret is not the first line of the file")
	}
	for _, text := range []string{j.Secret.String(), fmt.Sprintf("%v %+v %#v", *j, *j, *j), fmt.Sprintf("%q", j.Secret), f.String()} {
		if strings.Contains(text, "0123456789") || strings.Contains(text, "hunter2") {
			t.Errorf("a secret is shown: %s", text)
		}
	}
	if !filepath.IsAbs(string(j.SecretFile)) || len(f.Inputs()) != 1 || f.Inputs()[0] != filepath.Join(dir, "jwt.secret") {
		t.Errorf("Inputs = %v, want the file of the secret", f.Inputs())
	}
}

func TestValues(t *testing.T) {
	f := parse(t, `
policy: {timeout: 1m30s, max_body: 64KiB, max_in_flight: none, max_per_node: 3, allow: [10.0.0.0/8, "::1", 1.2.3.4]}
services:
  a: {max_body: 65536, max_in_flight: auto, rate_limit: []}
  b: {max_body: 1MB}
drain: 1h
publish: orders
`)
	p := f.Policy
	if *p.Timeout != config.Duration(90*time.Second) || *p.MaxBody != 65536 || *p.MaxInFlight != config.AutoLimit(config.None) || *p.MaxPerNode != 3 {
		t.Errorf("policy = %v", f)
	}
	if got := fmt.Sprint(p.Allow); got != "[10.0.0.0/8 ::1/128 1.2.3.4/32]" {
		t.Errorf("allow = %s", got)
	}
	a, b := f.Service["a"], f.Service["b"]
	if *a.MaxBody != 64<<10 || *a.MaxInFlight != config.Auto || a.RateLimit == nil || len(a.RateLimit) != 0 || *b.MaxBody != 1e6 || b.RateLimit != nil {
		t.Errorf("services = %v", f)
	}
	const want = `{drain: "1h", publish: [orders], policy: {timeout: "1m30s", max_body: "64KiB", max_in_flight: none, max_per_node: "3", allow: ["10.0.0.0/8", "::1/128", "1.2.3.4/32"]}, services: {a: {max_body: "64KiB", max_in_flight: auto, rate_limit: []}, b: {max_body: "1000000"}}}`
	if got := f.String(); got != strings.Replace(want, `publish: [orders], `, "", 1) && !strings.Contains(got, `publish: [orders]`) {
		t.Errorf("String = %s, want %s", got, want)
	}
	again := parse(t, f.String())
	if again.String() != f.String() {
		t.Errorf("String = %s, which is read as %s", f, again)
	}
}

func TestLoadTwice(t *testing.T) {
	path := filepath.Join(exampleDir(t), "goapi.yaml")
	a, err := config.Load(path, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	b, err := config.Load(path, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Error("Load twice gives two that differ")
	}
	if changed := b.Fixed(a); len(changed) != 0 {
		t.Errorf("Fixed = %v for the same file", changed)
	}
}

// TestExampleIsWhole: testdata/example.yaml has every key.
func TestExampleIsWhole(t *testing.T) {
	f, err := config.Load(filepath.Join(exampleDir(t), "goapi.yaml"), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	absent := map[string]bool{}
	eachKey(reflect.TypeFor[config.File](), func(owner reflect.Type, key string) { absent[owner.Name()+"."+key] = true })
	text, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	present(reflect.ValueOf(f).Elem(), string(text), absent)
	delete(absent, "AccessLog.file") // goes with no output
	for key := range absent {
		t.Errorf("the example has no %s", key)
	}
}

// eachKey calls f with the keys of a type and of those within.
func eachKey(t reflect.Type, f func(owner reflect.Type, key string)) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || seen[t] {
			return
		}
		seen[t] = true
		for field := range t.Fields() {
			tag := field.Tag.Get("yaml")
			if tag != "" && tag != ",inline" {
				f(t, tag)
			}
			if tag != "" {
				walk(field.Type)
			}
		}
	}
	walk(t)
}

// present takes the keys away that a value has, or the text mentions with a zero.
func present(v reflect.Value, text string, absent map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			present(v.Elem(), text, absent)
		}
	case reflect.Slice:
		for i := range v.Len() {
			present(v.Index(i), text, absent)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			present(v.MapIndex(k), text, absent)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			tag := v.Type().Field(i).Tag.Get("yaml")
			if tag == "" {
				continue
			}
			if !v.Field(i).IsZero() || strings.Contains(text, tag+": false") || strings.Contains(text, tag+": \"${") {
				delete(absent, v.Type().Name()+"."+tag)
			}
			present(v.Field(i), text, absent)
		}
	}
}

func TestSet(t *testing.T) {
	dir := t.TempDir()
	inputs(t, dir)
	f, err := config.Parse(dir+"/goapi.yaml", []byte(`
address: ":1"
registry: ["embedded:", "memory:"]
log_level: warn
drain: 90s
trusted_proxy: [10.0.0.0/8, "::1"]
admin_token_file: admin.token
policy: {timeout: 5s}
publish: []
`), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		flag string
		want []string
		ok   bool
	}{
		{"address", []string{":1"}, true},
		{"registry", []string{"embedded:", "memory:"}, true},
		{"log-level", []string{"warn"}, true},
		{"drain", []string{"1m30s"}, true},
		{"trusted-proxy", []string{"10.0.0.0/8", "::1/128"}, true},
		{"admin-token-file", []string{dir + "/admin.token"}, true},
		{"publish", []string{}, true},
		{"admin", nil, false},
		{"timeout", nil, false},
		{"policy", nil, false},
		{"zzz", nil, false},
	}
	for _, tt := range tests {
		if got, ok := f.Set(tt.flag); !reflect.DeepEqual(got, tt.want) || ok != tt.ok {
			t.Errorf("Set(%s) = %v, %t, want %v, %t", tt.flag, got, ok, tt.want, tt.ok)
		}
	}
	if got, ok := new(config.File).Set("address"); ok {
		t.Errorf("Set of no file = %v", got)
	}
}

func TestFixed(t *testing.T) {
	old := parse(t, "address: ':1'\nlimits: {in_flight: 5}\npolicy: {timeout: 5s}\nmetrics: {nodes: true}\n")
	tests := []struct {
		text string
		want string
	}{
		{"address: ':1'\nlimits: {in_flight: 5}\npolicy: {timeout: 5s}\nmetrics: {nodes: true}\n", "[]"},
		{"address: ':1'\nlimits: {in_flight: 5}\nmetrics: {nodes: true}\nservices: {a: {}}\nroutes: [{match: /x, to: 'a:1'}]\nmetadata: [timeout]\n", "[]"},
		{"address: ':2'\nlimits: {in_flight: 6}\nmetrics: {nodes: true}\n", "[address limits.in_flight]"},
		{"address: ':1'\nlimits: {in_flight: 5, streams: 1}\nregistry: [\"memory:\"]\n", "[registry metrics limits.streams]"},
		{"", "[address metrics limits]"},
	}
	for _, tt := range tests {
		if got := fmt.Sprint(parse(t, tt.text).Fixed(old)); got != tt.want {
			t.Errorf("Fixed of %q = %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestShare(t *testing.T) {
	f := parse(t, "access_log: {sample: 0}\ntracing: {sample: 0.5}\n")
	if got := f.AccessLog.Share(); got >= 0 {
		t.Errorf("Share of 0 = %v, want a negative number: none", got)
	}
	if got := f.Tracing.Share(); got != 0.5 {
		t.Errorf("Share of 0.5 = %v", got)
	}
	if got := new(config.AccessLog).Share(); got != 0 {
		t.Errorf("Share of nothing = %v, want 0: the default", got)
	}
}

// TestFixedFiles: a file that is read once cannot hold another thing.
func TestFixedFiles(t *testing.T) {
	const text = `upstream_ca: ca.pem
nats_token_file: nats.token
upstream_cert: cert.pem
upstream_key: key.pem
identity: {keys: {a: {file: keys.txt}}}
tracing: {endpoint: "grpcs://127.0.0.1:4317", ca: other.pem}
tls: {acme: {domains: [a.example.com], ca_root: root.pem}}
`
	first, _ := certificate(t)
	second, _ := certificate(t)
	for name, want := range map[string]string{
		"ca.pem": "[upstream_ca]", "nats.token": "[nats_token_file]", "other.pem": "[tracing.ca]", "root.pem": "[tls.acme.ca_root]", "keys.txt": "[]",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			inputs(t, dir)
			write(t, dir, "root.pem", first)
			load := func() *config.File {
				f, err := config.Load(write(t, dir, "goapi.yaml", text), noEnv)
				if err != nil {
					t.Fatal(err)
				}
				return f
			}
			old := load()
			if got := load().Fixed(old); len(got) > 0 {
				t.Errorf("Fixed of the same files = %v, want none", got)
			}
			other := second
			switch name {
			case "keys.txt":
				other = "acme " + middleware.HashKey("other")
			case "nats.token":
				other = "other"
			}
			write(t, dir, name, other)
			if got := fmt.Sprint(load().Fixed(old)); got != want {
				t.Errorf("Fixed after %s changed = %s, want %s", name, got, want)
			}
		})
	}
}
