package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestCheckEvents(t *testing.T) {
	embedded, none := []string{"embedded:"}, []string{"memory:"}
	tests := []struct {
		name string
		cfg  settings
		want string // in the error; "" for none
	}{
		{"all lists", settings{registries: embedded, publish: []string{"orders.**", "payments"}, subscribe: []string{"*"}, push: []string{"orders.eu"}}, ""},
		{"nothing without a broker", settings{registries: none}, ""},
		{"publish a comma", settings{registries: embedded, publish: []string{"orders,payments"}}, `--publish "orders,payments": a topic here has no comma; repeat the flag`},
		{"subscribe a comma", settings{registries: embedded, subscribe: []string{"orders", "a,b"}}, "repeat the flag"},
		{"push a comma", settings{registries: embedded, push: []string{","}}, "repeat the flag"},
		{"publish without a broker", settings{registries: none, publish: []string{"orders"}}, "--publish orders needs a broker"},
		{"subscribe without a broker", settings{registries: none, subscribe: []string{"orders"}}, "--subscribe orders needs a broker"},
		{"push without a broker", settings{registries: embedded, broker: brokerOff, push: []string{"orders"}}, "--push orders needs a broker"},
		{"mount without a broker", settings{registries: none, mounts: []string{"/e=event"}, publish: []string{"orders"}}, "--mount /e=event needs a broker"},
		{"no pattern", settings{registries: embedded, publish: []string{"**.orders"}}, "is no pattern"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.cfg.checkEvents()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("checkEvents() error = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestMistakesOfCommands(t *testing.T) {
	for args, want := range map[string]string{
		"explain":                "wrong number of arguments: write goapi explain [METHOD] URL",
		"dlq show":               "wrong number of arguments: write goapi dlq show ID",
		"call greeter":           "wrong number of arguments: write goapi call SERVICE ENDPOINT [JSON]",
		"dlq lst":                `unknown command "lst" for goapi dlq; want list, show or replay`,
		"subscribe orders -n -1": "--count -1: want a number of messages",
		"publish orders b -H :v": "want 'NAME: VALUE'",
	} {
		if out, stderr, status := execute(t, strings.Fields(args)...); status != 1 || out != "" || !strings.Contains(stderr, want) {
			t.Errorf("goapi %s = %d, %q, %q; want 1 and %q", args, status, out, stderr, want)
		}
	}
	if out, _, status := execute(t, "dlq"); status != 0 || !strings.Contains(out, "replay") {
		t.Errorf("goapi dlq = %d, %q; want its commands", status, out)
	}
}

// execute runs the command line.
func execute(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, world{new(bytes.Buffer), &out, &errs, func(string) (string, bool) { return "", false }})
	return out.String(), errs.String(), status
}
