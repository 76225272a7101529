package consul

import (
	"bytes"
	"compress/zlib"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

func TestDecodeTag(t *testing.T) {
	tests := []struct {
		name, in string
		want     tag
	}{
		{"a version", "v-789cca492c492d2e01040000ffff08cc028e", tag{kind: 'v', version: "latest"}},
		{"an old version", "v=1.0.0", tag{kind: 'v', version: "1.0.0", weak: true}},
		{"metadata", "t-789caa562a294acc2b2ec82f2a51b252ca28292950aa05040000ffff4f930768", tag{kind: 't', metadata: map[string]string{"transport": "http"}}},
		{"old metadata", `t={"a":"b"}`, tag{kind: 't', metadata: map[string]string{"a": "b"}}},
		{"an old endpoint", `e={"name":"A.B"}`, tag{kind: 'e', endpoint: &registry.Endpoint{Name: "A.B"}}},
		{"a stream that ends", "v-" + ended("x"), tag{kind: 'v', version: "x"}},
		{"a stream that does not", "v-" + flushed("x"), tag{kind: 'v', version: "x"}},
		{"nothing", "", tag{}},
		{"a letter", "v", tag{}},
		{"a word", "v-1", tag{}},
		{"another word", "t-7eleven", tag{}},
		{"a word in hexadecimal", "e-beef", tag{}},
		{"an odd number of digits", "e-789", tag{}},
		{"somebody else's", "x-789cca492c492d2e01040000ffff08cc028e", tag{}},
		{"ours in no old form", "g={}", tag{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := decodeTag(tt.in)
			if got.err != nil {
				t.Fatalf("decodeTag(%q) error = %v", tt.in, got.err)
			}
			if got.kind != tt.want.kind || got.weak != tt.want.weak || got.version != tt.want.version ||
				!maps.Equal(got.metadata, tt.want.metadata) || !reflect.DeepEqual(got.endpoint, tt.want.endpoint) || got.more != nil {
				t.Errorf("decodeTag(%q) = %+v, want %+v", tt.in, got, &tt.want)
			}
		})
	}
}

// ended returns a text compressed to the end of the stream, in hexadecimal.
func ended(text string) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	fmt.Fprint(z, text)
	z.Close()
	return hex.EncodeToString(b.Bytes())
}

func TestDecodeTagRefuses(t *testing.T) {
	cut := flushed(strings.Repeat("x", 100))
	tests := []struct{ name, in string }{
		{"too much", "v-" + ended(strings.Repeat("x", maxText+1))},
		{"too much in the old form", "v=" + strings.Repeat("x", maxText+1)},
		{"a stream that is cut off", "v-" + cut[:len(cut)-12]},
		{"a stream with a wrong sum", "v-" + ended("x")[:len(ended("x"))-2] + "00"},
		{"a number", "e-" + ended("1")},
		{"a list of pairs", `t=[{"a":"b"}]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := decodeTag(tt.in); got.kind == 0 || got.err == nil {
				t.Errorf("decodeTag(%.80q) = %+v, want a kind and an error", tt.in, got)
			}
		})
	}
}

// flushed returns a text compressed without the end of the stream, in
// hexadecimal.
func flushed(text string) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	fmt.Fprint(z, text)
	z.Flush()
	return hex.EncodeToString(b.Bytes())
}

// TestTagsAreHeldOnce: equal tags are decoded once, and forgotten with their
// last use.
func TestTagsAreHeldOnce(t *testing.T) {
	var h tags
	key, first := h.hold(`t={"a":"b"}`)
	again, second := h.hold(`t={"a":"b"}`)
	if first != second || key != again {
		t.Error("a tag is held twice")
	}
	h.release([]digest{key})
	if len(h.held) != 1 {
		t.Error("a tag is gone that is used")
	}
	h.release([]digest{key})
	if len(h.held) != 0 {
		t.Error("a tag is there that nobody uses")
	}
}

// FuzzTags: what is announced reads back equal.
func FuzzTags(f *testing.F) {
	f.Add("latest", "protocol", "mucp", "Greeter.Hello", "/hello/{name}", "blue")
	f.Add("", "", "", "", "", "")
	f.Add("v/1 ü\n", "=-", "\x00", `"\`, "</script>", "\u2028")
	f.Fuzz(func(t *testing.T, version, key, value, endpoint, path, team string) {
		s := &registry.Service{
			Version:   version,
			Endpoints: []*registry.Endpoint{{Name: valid(endpoint), Metadata: map[string]string{"path": valid(path)}}},
		}
		n := &registry.Node{Metadata: map[string]string{valid(key): valid(value), "fixed": "x"}}
		m := more{Name: "x", Metadata: map[string]string{"team": valid(team)}}
		list, err := encodeTags(s, n, m)
		if err != nil {
			t.Fatalf("encodeTags() error = %v", err)
		}
		var c catalog
		var held []digest
		for _, tag := range list {
			key, _ := c.tags.hold(tag)
			held = append(held, key)
		}
		got, err := c.read(held)
		if err != nil {
			t.Fatalf("read() error = %v", err)
		}
		if !got.micro || *got.version != version || !maps.Equal(got.metadata, n.Metadata) ||
			!reflect.DeepEqual(got.endpoints, s.Endpoints) || !reflect.DeepEqual(got.more, &m) {
			t.Errorf("read() = %+v, want what was announced: %+v %+v %+v", got, s, n, m)
		}
	})
}

func valid(s string) string { return strings.ToValidUTF8(s, "?") }

// FuzzDecodeTag: whatever a tag is, it is ours, somebody else's, or refused; and
// it never takes more than it may.
func FuzzDecodeTag(f *testing.F) {
	f.Add("e-789cca492c492d2e01040000ffff08cc028e")
	f.Add(`e={"name":"A.B","request":{"values":[null,{}]}}`)
	f.Add("t=null")
	f.Add("v-" + ended(strings.Repeat("x", 1<<16)))
	f.Fuzz(func(t *testing.T, in string) {
		got := decodeTag(in)
		switch {
		case got.size > maxText:
			t.Errorf("decodeTag() holds %d bytes, more than %d", got.size, maxText)
		case got.kind == 0 && (got.err != nil || got.size > 0):
			t.Errorf("decodeTag() = %+v, which is nobody's and yet something", got)
		case got.kind != 0 && got.kind != in[0]:
			t.Errorf("decodeTag() = %+v, want the kind %q", got, in[0])
		}
		again := decodeTag(in)
		if got.version != again.version || !maps.Equal(got.metadata, again.metadata) || (got.err == nil) != (again.err == nil) {
			t.Errorf("decodeTag() = %+v, and then %+v", got, again)
		}
	})
}

// FuzzCatalog: whatever an agent tells, what stands in the state can be
// explained, and nothing remains of it when the service is gone.
func FuzzCatalog(f *testing.F) {
	f.Add([]byte(`[{"Node":{"Node":"n","Address":"h"},"Service":{"ID":"1","Service":"a","Port":80,"Tags":["v=1"],"Meta":{"goapi-endpoint":"A;path=/a"}},"Checks":[{"Status":"passing"}]}]`))
	f.Add([]byte(`[null,{},{"Service":{"Service":"a"}},{"Service":{"Service":"a","Port":-1}}]`))
	f.Add([]byte(`{"a":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c catalog
		news, err := c.set("a", data, 1)
		if news && err != nil {
			t.Errorf("set() = %t, %v: want one of them", news, err)
		}
		for _, s := range c.records.Services() {
			if s.Name != "a" || len(s.Nodes) == 0 || slices.ContainsFunc(s.Nodes, func(n *registry.Node) bool { return n.Address == "" }) {
				t.Errorf("a state holds %+v, want services of that name with nodes that have an address", s)
			}
		}
		if again, _ := c.set("a", data, 1); again {
			t.Error("set() of the same is news")
		}
		if _, err := c.set("a", []byte("[]"), 2); err != nil {
			t.Fatal(err)
		}
		if len(c.records.Services()) != 0 || len(c.tags.held) != 0 || len(c.known) != 0 || len(c.omissions()) != 0 {
			t.Errorf("of a service that is gone there remain %v, %d tags, %v and %v",
				c.records.Services(), len(c.tags.held), c.known, c.omissions())
		}
	})
}
