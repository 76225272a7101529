package mdns

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 64)
	tests := []struct {
		name, service, id, want string
	}{
		{"plain", "greeter", "greeter-1", "greeter-1.greeter.micro."},
		{"with dots", "micro.http.broker", "greeter.event-1", "greeter.event-1.micro.http.broker.micro."},
		{"in any script", "grüße", "👋", "👋.grüße.micro."},
		{"a long label", long, "1", "1.h-ffe054fe7ae0cb6dc65c3af9b61d5209f439851d.micro."},
		{"that of the list", "a._services", "1", "1.h-" + hashed("a._services")[2:] + ".micro."},
		{"a bad id", "greeter", "a.", hashed("a.") + ".greeter.micro."},
		{"a long id", "greeter", strings.Repeat("a.", 126) + "a", hashed(strings.Repeat("a.", 126)+"a") + ".greeter.micro."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := instanceName(tt.id, serviceName(tt.service, "micro."))
			if got != tt.want {
				t.Errorf("instanceName(%q, %q) = %q, want %q", tt.id, tt.service, got, tt.want)
			}
		})
	}
}

func TestParseURL(t *testing.T) {
	tests := []struct {
		url  string
		want []string // domains, then interfaces
		err  string
	}{
		{"mdns:", []string{"micro.", "local."}, ""},
		{"mdns://", []string{"micro.", "local."}, ""},
		{"mdns:?domain=micro", []string{"micro."}, ""},
		{"mdns:?domain=a.b.&domain=c&interface=eth0&interface=lo", []string{"a.b.", "c.", "eth0", "lo"}, ""},
		{"mdns:?domian=micro", nil, `unknown parameter "domian"; known parameters: domain, interface`},
		{"mdns:?domain=", nil, `domain "" is not a domain of at most 60 bytes, such as micro or local`},
		{"mdns:?domain=a..b", nil, `domain "a..b" is not a domain of at most 60 bytes, such as micro or local`},
		{"mdns:?interface=", nil, "interface is empty: give the name of one, such as eth0, or leave it out for all"},
		{"mdns:?a=%zz", nil, `its parameters cannot be read: invalid URL escape "%zz"`},
		{"mdns:?" + strings.Repeat("domain=a&", 9), nil, "more than 8 domains or interfaces"},
		{"mdns://host", nil, "it takes no address: write mdns: and parameters"},
		{"mdns:host", nil, "it takes no address: write mdns: and parameters"},
		{"mdns:///path", nil, "it takes no address: write mdns: and parameters"},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			u, err := url.Parse(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			c, err := parseURL(u)
			if err != nil {
				if err.Error() != tt.err {
					t.Errorf("parseURL(%s) error = %v, want %s", tt.url, err, tt.err)
				}
				return
			}
			if got := slices.Concat(c.domains, c.interfaces); !slices.Equal(got, tt.want) || tt.err != "" {
				t.Errorf("parseURL(%s) = %q, want %q, %s", tt.url, got, tt.want, tt.err)
			}
		})
	}
}
