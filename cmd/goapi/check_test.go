package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCheckSaysWhatRunWould has check and run read configurations in which
// something is wrong that package config cannot know: both say the same, with the
// place.
func TestCheckSaysWhatRunWould(t *testing.T) {
	for text, want := range map[string]string{
		`registry: ["embedded:", "etcd://10.0.0.1:2379?prefx=/x"]`:             `:1:25: registry[1]: registry: etcd://10.0.0.1:2379: unknown parameter "prefx"; known: ca,`,
		`registry: ["file:missing.yaml"]`:                                      `:1:12: registry[0]: registry: missing.yaml: it is not there`,
		`registry: ["redis://10.0.0.1"]`:                                       `:1:12: registry[0]: unknown scheme "redis"; known schemes: consul:`,
		`registry: ["embedded:", "memory:", "embedded:"]`:                      `:1:36: registry[2]: it is there twice: leave one out`,
		`mount: ["/a/../b=event"]`:                                             `:1:8: mount "/a/../b=event": the path "/a/../b" has . or ..`,
		`broker: "nats://10.0.0.1?prefx=x"`:                                    `:1:9: broker: nats: nats://10.0.0.1: unknown parameter "prefx"; known: ca,`,
		`mount: [/a=event, /b=nothing]`:                                        `:1:8: mount "/b=nothing": no handler "nothing"; want event, cloudevents or broker`,
		`{broker: "off", mount: [/a=event]}`:                                   `:1:24: mount /a=event needs a broker: give one with broker URL`,
		`publish: ["a b"]`:                                                     `:1:10: publish: "a b" is no pattern`,
		`nats: "0.0.0.0:4222"`:                                                 `:1:7: nats 0.0.0.0:4222 can be reached from other machines: give nats_token_file FILE, or listen on 127.0.0.1`,
		`admin: "0.0.0.0:8081"`:                                                `:1:8: admin 0.0.0.0:8081 can be reached from other machines: give admin_token_file FILE, or listen on 127.0.0.1`,
		`admin_token_file: empty`:                                              `:1:19: admin_token_file FILE: the file holds no token on its first line`,
		`data: empty`:                                                          `:1:7: data FILE is a file: name a directory`,
		`tls: {http: ":8080"}`:                                                 `:1:6: tls: TLS without a certificate: name the files of one, or have them issued`,
		`routes: [{match: /x, to: ["a:1"]}, {match: "/{a}/{a}", to: ["a:1"]}]`: `:1:36: routes[1]: it would not be routed: `,
		`routes: [{match: /x/**, to: ["a:1"], methods: [CONNECT]}]`:            `:1:10: routes[0]: it would not be routed: `,

		`identity: {jwt: {main: {algorithms: [RS256], issuer: a, audience: [b], jwks: "https://u:p@issuer.example.com/k"}}}`: `:1:24: identity.jwt.main: jwt: the URL of the keys has a password`,
		`{registry: ["memory:"], tls: {acme: {domains: [a.example.com], storage: nats}}}`:                                    `:1:73: tls.acme.storage: gateways share it over NATS,`,
		`{registry: ["memory:"], policy: {rate_limit: [{key: client, requests: 1, per: 1s, shared: true}]}}`:                 `:1:33: policy.rate_limit: gateways share it over NATS,`,
	} {
		t.Run(text, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "goapi.yaml")
			for name, text := range map[string]string{file: text, filepath.Join(dir, "empty"): ""} {
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var said []string
			for _, args := range [][]string{{"check", file}, {"run", "--config", file, "--address", "127.0.0.1:0"}} {
				var errs strings.Builder
				none := func(name string) (string, bool) { return dir, name == "HOME" }
				if status := run(ctx, args, world{strings.NewReader(""), io.Discard, &errs, none}); status != 1 {
					t.Errorf("goapi %s = %d, want 1", args[0], status)
				}
				said = append(said, strings.ReplaceAll(errs.String(), filepath.Join(dir, "empty"), "FILE"))
			}
			if !strings.HasPrefix(said[0], "goapi: "+file+want) || strings.Count(said[0], "\n") != 1 {
				t.Errorf("goapi check says %q, want one line with %q", said[0], want)
			}
			if lines := strings.Split(strings.TrimSpace(said[1]), "\n"); lines[len(lines)-1]+"\n" != said[0] {
				t.Errorf("goapi run says %q, want what check does: %q", said[1], said[0])
			}
		})
	}
}

// TestConfigWithoutName: a configuration that is asked for by an empty name, as by
// a variable that is not set, is not one that says nothing.
func TestConfigWithoutName(t *testing.T) {
	tests := []struct {
		name string
		args []string
		env  string
		want string
	}{
		{"a flag", []string{"run", "--config", ""}, "", "--config: name a file"},
		{"a flag over the environment", []string{"run", "--config="}, "goapi.yaml", "--config: name a file"},
		{"the environment", []string{"run"}, "empty", "GOAPI_CONFIG is empty: name a file"},
		{"check", []string{"check", ""}, "", "name one configuration file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // of a gateway that starts after all
			defer cancel()
			dir := t.TempDir()
			env := func(name string) (string, bool) {
				if name == "GOAPI_CONFIG" {
					return strings.TrimPrefix(tt.env, "empty"), tt.env != ""
				}
				return dir, name == "HOME"
			}
			args := tt.args
			if args[0] == "run" {
				args = append(args, "--address", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--nats", "off")
			}
			var errs strings.Builder
			if status := run(ctx, args, world{strings.NewReader(""), io.Discard, &errs, env}); status != 1 || !strings.Contains(errs.String(), tt.want) {
				t.Errorf("goapi %q = %d %s, want 1 and %q", tt.args, status, errs.String(), tt.want)
			}
		})
	}
}
