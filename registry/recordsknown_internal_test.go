package registry

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unsafe"
)

// TestWords: what comes again is held once, unless it is long, and others take
// the place of what does not.
func TestWords(t *testing.T) {
	var w known
	for s, want := range map[string]bool{"string": true, "": true, strings.Repeat("x", maxWord+1): false} {
		first, second := w.word([]byte(s)), w.word([]byte(s))
		if once := unsafe.StringData(first) == unsafe.StringData(second); first != s || once != want {
			t.Errorf("word(%q) twice is held once: %t, want %t", s, once, want)
		}
	}
	for i := range 10 * slots {
		s := strings.Repeat("x", i%maxWord) + string(rune('a'+i%26))
		if got := w.word([]byte(s)); got != s {
			t.Fatalf("word(%q) = %q", s, got)
		}
	}
	if len(w.words.slots) != slots {
		t.Errorf("%d words are held, want %d", len(w.words.slots), slots)
	}
}

// TestKnownMessages: what endpoints and nodes have in common is held once, unless
// it is long. What cannot be read is not known afterwards either.
func TestKnownMessages(t *testing.T) {
	var k known
	endpoint := func(text string) *Endpoint {
		t.Helper()
		e, ok := k.readEndpoint([]byte(text))
		if !ok {
			t.Fatalf("readEndpoint(%.80s) = false, want true", text)
		}
		return e
	}
	const message = `{"name":"User","type":"User","values":[{"name":"id","type":"string","values":null}]}`
	first := endpoint(`{"name":"A.Get","response":` + message + `}`)
	second := endpoint(`{"name":"A.Set","request":` + message + `,"response":null}`)
	if first.Response == nil || first.Response != second.Request || second.Response != nil {
		t.Errorf("a message of two endpoints is held as %v and %v, want it once", first.Response, second.Request)
	}
	long := strings.Replace(message, "User", strings.Repeat("x", maxText), 1)
	first, second = endpoint(`{"request":`+long+`}`), endpoint(`{"request":`+long+`}`)
	if first.Request == second.Request || !reflect.DeepEqual(first, second) {
		t.Errorf("a long message of two endpoints is held once, want it twice")
	}
	for range 2 {
		if e, ok := k.readEndpoint([]byte(`{"request":{"names":"User"}}`)); ok {
			t.Errorf("readEndpoint() of a bad message = %v, want none", e)
		}
	}
	record := func(id string) map[string]string {
		t.Helper()
		rec, ok := k.readRecord(fmt.Appendf(nil, `{"name":"a","nodes":[{"id":%q,"metadata":{"protocol":"mucp"}}]}`, id))
		if !ok {
			t.Fatalf("readRecord() of node %s = false, want true", id)
		}
		return rec.nodes[0].Metadata
	}
	one, two := record("a-1"), record("a-2")
	if reflect.ValueOf(one).UnsafePointer() != reflect.ValueOf(two).UnsafePointer() || one["protocol"] != "mucp" {
		t.Errorf("the metadata of two nodes is held as %v and %v, want it once", one, two)
	}
}
