package test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMistakesAboutEvents gives flags that cannot be: each is one clear line,
// and nothing is started.
func TestMistakesAboutEvents(t *testing.T) {
	const noPattern = "is no pattern: want words joined by dots"
	tests := []struct{ args, want string }{
		{"--mount /events", "want PATH=HANDLER, such as /events=event"},
		{"--mount events=event", "want PATH=HANDLER"},
		{"--mount /=event", "want PATH=HANDLER"},
		{"--mount /events/=event", "want PATH=HANDLER"},
		{"--mount /a//b=event", "want PATH=HANDLER"},
		{"--mount /%65vents=event", "need an escape"},
		{"--mount /e?format=event", "need an escape"},
		{"--mount /bestellungen/ü=event", "need an escape"},
		{"--mount /events=rpc", `no handler "rpc"; want event, cloudevents or broker`},
		{"--mount /events=event --mount /events=broker", "--mount /events is given twice"},
		{"--mount /events=event?colour=red", "it has namespace, format, allow_header, deny_header"},
		{"--mount /events=event?format=xml", "want json or protobuf"},
		{"--mount /events=event?format=json&format=protobuf", `"format" is there 2 times`},
		{"--mount /events=event?namespace=*", "has a wildcard in it"},
		{"--mount /events=event?%zz", "malformed options"},
		{"--mount /cloudevents=cloudevents?webhook_rate=0", "want a number of requests a minute"},
		{"--mount /bus=broker?group=a.>", noPattern},
		{"--mount /events=event --broker off", "--mount /events=event needs a broker"},
		{"--mount /events=event --registry memory:", "--mount /events=event needs a broker"},
		{"--push orders --broker off", "--push orders needs a broker"},
		{"--publish orders --broker off", "--publish orders needs a broker"},
		{"--subscribe orders --broker off", "--subscribe orders needs a broker"},
		{"--publish orders,payments", "repeat the flag"},
		{"--publish orders.>", "--publish: "},
		{"--publish **.orders", noPattern},
		{"--subscribe a..b", noPattern},
		{"--push $SYS", noPattern},
		{"--broker nosuch:", "known schemes: embedded:"},
		{"--broker memory:?x=1", "takes no address and no parameters"},
		{"--broker nats://user:secret@127.0.0.1:1?colour=red", "colour"},
		{"--broker nats://127.0.0.1:1?jetstream=maybe", "neither true nor false"},
		{"--broker nats://127.0.0.1:1?jetstream=false&stream=X", "means nothing with jetstream=false"},
		{"--broker nats+micro://127.0.0.1:1?stream=X", "stream"},
		{"--broker embedded:?prefix=*", "prefix"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			args := append([]string{"run", "--data", data, "--address", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--nats", "off"}, strings.Fields(tt.args)...)
			checkFailure(t, args, tt.want)
		})
	}
}

// TestMistakesOfCommandsAboutEvents asks a gateway with a broker, and one
// without, for what they do not have.
func TestMistakesOfCommandsAboutEvents(t *testing.T) {
	p, none := startGateway(t), startGateway(t, "--broker", "off")
	tests := []struct {
		args  string
		admin string
		want  string
	}{
		{"publish", p.admin, "write goapi publish TOPIC [BODY]"},
		{"publish a.* hello", p.admin, "has a wildcard in it"},
		{"publish orders hello -H bad", p.admin, "want 'NAME: VALUE'"},
		{"subscribe >", p.admin, "has a wildcard in it"},
		{"subscribe orders --from yesterday", p.admin, "nor a position"},
		{"dlq show nosuch", p.admin, "no such dead letter"},
		{"dlq replay", p.admin, "name the dead letters"},
		{"publish orders hello", none.admin, "no broker"},
		{"subscribe orders", none.admin, "no broker"},
		{"dlq list", none.admin, "no broker"},
		{"publish orders hello", "127.0.0.1:1", "no gateway answers there"},
		{"subscribe orders", "127.0.0.1:1", "no gateway answers there"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			checkFailure(t, append(strings.Fields(tt.args), "--admin", tt.admin), tt.want)
		})
	}
}

// TestWithoutABrokerNothingIsPublished turns the broker off.
func TestWithoutABrokerNothingIsPublished(t *testing.T) {
	p := startGateway(t, "--broker", "off")
	if got := p.post(p.admin, "/broker?topic=orders", "hello"); got.status != http.StatusNotFound {
		t.Errorf("POST /broker = %v, want 404", got)
	}
	s := announced("accounts", startNode(t, "n1"))
	s.Endpoints[0].Metadata = map[string]string{"handler": "event", "topic": "orders", "path": "/signup"}
	p.register(s, 0)
	if got := p.post(p.address, "/signup", "hello"); got.status != http.StatusNotFound {
		t.Errorf("POST of what a service wants published = %v, want 404", got)
	}
	if out, _, _ := p.command("routes"); !strings.Contains(out, "event") {
		t.Errorf("routes = %s, want word of the handler that is not there", out)
	}
}

// TestNoBusIsStartedForOthers runs gateways whose registry and broker are
// elsewhere: none has a bus of its own.
func TestNoBusIsStartedForOthers(t *testing.T) {
	bus := startGateway(t, "--nats", "127.0.0.1:0")
	remote := "nats://" + bus.nats
	for name, tt := range map[string]struct {
		args []string
		bus  bool
	}{
		"remote registry":                {[]string{"--registry", remote}, false},
		"memory registry":                {[]string{"--registry", "memory:"}, false},
		"remote registry and broker":     {[]string{"--registry", remote, "--broker", remote, "--mount", "/events=event"}, false},
		"memory registry and broker":     {[]string{"--registry", "memory:", "--broker", "memory:"}, false},
		"embedded registry, no broker":   {[]string{"--broker", "off"}, true},
		"remote registry, embedded one":  {[]string{"--registry", remote, "--registry", "embedded:"}, true},
		"remote registry, broker inside": {[]string{"--registry", remote, "--broker", "embedded:"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			p := startGateway(t, append(tt.args, "--data", data, "--nats", "127.0.0.1:0")...)
			_, err := os.Stat(filepath.Join(data, "nats"))
			if stored, listens := err == nil, p.nats != "off"; stored != tt.bus || listens != tt.bus {
				t.Errorf("there is a store: %t, a listener: %s; want a bus: %t", stored, p.nats, tt.bus)
			}
		})
	}
}

// TestTheLogSaysWhatABrokerDoesNotPromise starts gateways with each kind of
// broker.
func TestTheLogSaysWhatABrokerDoesNotPromise(t *testing.T) {
	bus := startGateway(t, "--nats", "127.0.0.1:0")
	const (
		restart = "messages do not outlive a restart of the broker"
		once    = "messages are delivered at most once"
		history = "there is no history"
	)
	for broker, missing := range map[string][]string{
		"embedded:":          nil,
		"nats://" + bus.nats: nil,
		"memory:":            {restart},
		"nats://" + bus.nats + "?jetstream=false": {restart, once, history},
		"nats+micro://" + bus.nats:                {restart, once, history},
		"http+micro:":                             {restart, once, history},
	} {
		t.Run(broker, func(t *testing.T) {
			p := startGateway(t, "--broker", broker)
			said := strings.Contains(p.logged(), "the broker does not promise everything")
			if said != (missing != nil) {
				t.Errorf("the log says that something is missing: %t, want %t\n%s", said, missing != nil, p.logged())
			}
			for _, sentence := range missing {
				if !strings.Contains(p.logged(), sentence) {
					t.Errorf("the log does not say %q", sentence)
				}
			}
		})
	}
}
