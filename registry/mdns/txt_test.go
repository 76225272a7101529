package mdns

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

// TestText writes TXT records one after the other, and reads them.
func TestText(t *testing.T) {
	tests := []struct {
		name string
		text text
	}{
		{"nothing", text{}},
		{"as go-micro has it", text{
			Service: "greeter", Version: "latest", Metadata: map[string]string{"protocol": "mucp"},
			Endpoints: []*registry.Endpoint{{Name: "Greeter.Hello", Request: &registry.Value{Name: "Request", Type: "Request"}}},
		}},
		{"with what is ours", text{
			Service: "a..b", ServiceMetadata: map[string]string{"team": "blue\n\x00"}, ID: ".", Address: "node.example:80",
		}},
		{"large", text{Service: "large", Metadata: map[string]string{"padding": strings.Repeat("x", maxText/2)}}},
		{"small after that", text{Service: "small"}},
	}
	var de deflater
	var in inflater
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list, err := de.encode(&tt.text)
			if err != nil {
				t.Fatalf("encode error = %v", err)
			}
			for i, s := range list {
				if s == "" || len(s) > maxString || i < len(list)-1 && len(s) != maxString || strings.ToLower(s) != s {
					t.Errorf("string %d of %d is %q, want lower case of 255 bytes, or less at the end", i, len(list), s)
				}
			}
			again, err := de.encode(&tt.text)
			if err != nil || !slices.Equal(again, list) {
				t.Errorf("encode again = %q, %v, want the same: a renewal is no change", again, err)
			}
			got, size, err := in.decode(list)
			if err != nil || size == 0 {
				t.Fatalf("decode = %d bytes, error %v", size, err)
			}
			if got, want := asText(got.service()), asText(tt.text.service()); got != want {
				t.Errorf("decode(encode) = %s, want %s", got, want)
			}
		})
	}
}

// TestTextOfGoMicro has in hexadecimal what others than we have compressed.
func TestTextOfGoMicro(t *testing.T) {
	var in inflater
	e := parsed(t, capture(t, "query-service.txt")[1].data).entries[0]
	got, _, err := in.decode(e.text)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"broker": "http", "protocol": "mucp", "registry": "mdns", "server": "mucp", "transport": "http", "zone": "test",
	}
	if got.Service != captureService || got.Version != "latest" || len(got.Endpoints) != 9 || !maps.Equal(got.Metadata, want) {
		t.Errorf("decode = %+v, want version latest of %s with 9 endpoints and metadata %v", got, captureService, want)
	}
	upper := make([]string, len(e.text))
	for i, s := range e.text {
		upper[i] = strings.ToUpper(s)
	}
	if again, _, err := in.decode(upper); err != nil || asText(again.service()) != asText(got.service()) {
		t.Errorf("decode in upper case = %v, %v, want the same", again, err)
	}
	e.text = []string{strings.Join(e.text, "")}
	if again, _, err := in.decode(e.text); err != nil || asText(again.service()) != asText(got.service()) {
		t.Errorf("decode of one string = %v, %v, want the same", again, err)
	}
}

// TestForeignText is read between others, which must not suffer.
func TestForeignText(t *testing.T) {
	var in inflater
	var de deflater
	good, err := de.encode(&text{Service: "greeter"})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]string{
		nil, {""}, {"a"}, {"zz"}, {"path=/"}, {"00"}, {"789c"}, {strings.Repeat("00", 20_000)}, good[:0], {good[0][:10]},
	} {
		if got, _, err := in.decode(bad); got != nil || err == nil {
			t.Errorf("decode(%.40q) = %v, want an error", bad, got)
		}
		if got, _, err := in.decode(good); err != nil || got.Service != "greeter" {
			t.Errorf("decode after %.40q = %v, %v, want it to be read", bad, got, err)
		}
	}
	if _, _, err := in.decode([]string{"path=/"}); !errors.Is(err, errForeign) {
		t.Errorf("decode(path=/) error = %v, want errForeign", err)
	}
	nulls, err := de.encode(&text{Service: "greeter", Endpoints: []*registry.Endpoint{nil, {Name: "a"}, nil}})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := in.decode(nulls); err != nil || len(got.Endpoints) != 1 || got.Endpoints[0].Name != "a" {
		t.Errorf("decode with nulls = %+v, %v, want the one endpoint", got, err)
	}
}
