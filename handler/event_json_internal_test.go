package handler

import (
	"encoding/json"
	"net/http"
	"testing"
	"unicode/utf8"

	"github.com/goapi-dev/goapi/proto"
)

// FuzzAppendEvent holds that events are written as the standard library writes
// them.
func FuzzAppendEvent(f *testing.F) {
	f.Add("placed", "1", int64(7), "X-Shop", "a", "b", []byte(`{"a":"<b>&"}`))
	f.Add("", "2", int64(-1), "X-Y", "", "", []byte(nil))
	f.Add("\u2028\u2029\u2027\u202a\xe2\x80\xa8", "\x00\x1f\x7f\b\f\n\r\t\"\\/", int64(1), "ü", "\u00e2", "\U0010ffff", []byte("é€\u20ac"))
	f.Fuzz(func(t *testing.T, name, id string, timestamp int64, header, one, two string, data []byte) {
		for _, text := range []string{name, id, header, one, two, string(data)} {
			if !utf8.ValidString(text) {
				return
			}
		}
		if id == "" || timestamp == 0 || header == "" { // which no event has, and the library leaves out
			return
		}
		h := http.Header{header: {one, two}, "None": {}, "A": {two}}
		got := string(appendEvent(nil, name, id, timestamp, h, data))
		want, err := marshalJSON(&proto.Event{Name: name, Id: id, Timestamp: timestamp, Header: headerPairs(h), Data: string(data)})
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("appendEvent = %s\nwant %s", got, want)
		}
	})
}

// FuzzAppendText holds that a text in JSON is that text.
func FuzzAppendText(f *testing.F) {
	f.Add("a\u2028\x00\"")
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		var got string
		if err := json.Unmarshal(appendText(nil, text), &got); err != nil || got != text {
			t.Errorf("appendText(%q) = %s, which is %q, %v", text, appendText(nil, text), got, err)
		}
	})
}
