package micro_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/micro"
)

// TestUnmarshalCaptures reads what go-micro put on the wire.
func TestUnmarshalCaptures(t *testing.T) {
	tests := []struct {
		file string
		want broker.Message
	}{
		{"nats-v6-publish-json.txt", broker.Message{
			ID:     "7ed6f981-e909-47dc-9882-7d7524bcc706",
			Header: map[string]string{"Content-Type": "application/json", "Trace": "t1"},
			Body:   []byte(`{"name":"john","age":7}` + "\n"),
		}},
		{"nats-v6-publish-protobuf-event.txt", broker.Message{
			ID:     "aa667b9d-569f-4363-bcc7-6a7709e54a42",
			Header: map[string]string{"Content-Type": "application/protobuf", "Trace": "t1"},
			Body:   []byte("\n\x05login\x12\x04id-1\x18\x80\xe2\xcf\xaa\x06*\x07{\"a\":1}"),
		}},
		{"http-v6-publish.txt", broker.Message{
			ID:     "aa893c45-1cf3-48e6-8b0f-eb8d9d189fce",
			Header: map[string]string{"Content-Type": "application/json", "Trace": "t1"},
			Body:   []byte(`{"name":"john","age":7}` + "\n"),
		}},
		{"nats-handmade-event.json", broker.Message{
			ID:     "u1",
			Header: map[string]string{"Content-Type": "application/protobuf"},
			Body: []byte("\n\x05login\x12\x19go.micro.evt.user-login-1\x18\x80\xe2\xcf\xaa\x06\"0\n\fContent-Type\x12 \n\fContent-Type\x12\x10application/json" +
				"*\x07{\"a\":1}"),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			received := time.Unix(1, 0)
			got, err := micro.Unmarshal("greeter", payload(t, tt.file), received)
			if err != nil {
				t.Fatalf("Unmarshal() error = %v", err)
			}
			if got.ID != tt.want.ID || got.Topic != "greeter" || !maps.Equal(got.Header, tt.want.Header) ||
				!bytes.Equal(got.Body, tt.want.Body) || !got.Time.Equal(received) {
				t.Errorf("Unmarshal() = %+v, body %q, want %+v, body %q", got, got.Body, tt.want, tt.want.Body)
			}
		})
	}
}

// payload returns the JSON in a capture.
func payload(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, `{"Header"`) {
			return []byte(strings.TrimSpace(line))
		}
	}
	t.Fatalf("there is no message in %s", file)
	return nil
}

// TestMarshal writes what a subscriber of go-micro looks for.
func TestMarshal(t *testing.T) {
	m := &broker.Message{
		ID: "1", Header: map[string]string{"Content-Type": "application/json", "Micro-Topic": "other", "Goapi-Mark": "never", "!x": "y"},
		Body: []byte(`{"name":"john"}`), Time: time.Unix(1, 5e6),
	}
	data, err := micro.Marshal("greeter.hello", m)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Header map[string]string
		Body   string
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"Content-Type": "application/json", "Micro-Topic": "greeter.hello", "Micro-Id": "1", "Goapi-Mark": "1970-01-01T00:00:01.005Z greeter.hello 1",
		"!Micro-Topic": "other", "!Goapi-Mark": "never", "!!x": "y",
	}
	if !maps.Equal(got.Header, want) || got.Body != "eyJuYW1lIjoiam9obiJ9" || !bytes.HasPrefix(data, []byte(`{"Header":{`)) {
		t.Errorf("Marshal() = %s, want header %q", data, want)
	}
}

// TestUnmarshalPassedOn reads what services of go-micro publish while they handle
// a message of ours, or of others: its header, with what they replace.
func TestUnmarshalPassedOn(t *testing.T) {
	made, received := time.Unix(1, 0), time.Unix(9, 0)
	data, err := micro.Marshal("orders", &broker.Message{ID: "ours", Time: made})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, topic string
		header      map[string]string // of the one that passes it on
		want        string
		time        time.Time
	}{
		{"not at all", "orders", nil, "ours", made},
		{"mucp before v4.10", "paid", map[string]string{"Micro-Id": "theirs"}, "theirs", received},
		{"mucp before v4.10, same topic", "orders", map[string]string{"Micro-Id": "theirs"}, "theirs", received},
		{"mucp since v4.10", "paid", map[string]string{"Micro-ID": "theirs"}, "theirs", received},
		{"mucp since v4.10, same topic", "orders", map[string]string{"Micro-ID": "theirs"}, "theirs", received},
		{"mucp since v4.10, then before", "paid", map[string]string{"Micro-ID": "other", "Micro-Id": "theirs"}, "theirs", received},
		{"gRPC", "paid", nil, "", received},
		{"mucp since v4.10, never ours", "paid", map[string]string{"Micro-ID": "theirs", "Micro-Id": "", "Goapi-Mark": ""}, "theirs", received},
		{"mucp since v4.10, then before, never ours", "paid", map[string]string{"Micro-ID": "other", "Micro-Id": "theirs", "Goapi-Mark": "x"}, "theirs", received},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var e struct {
				Header map[string]string
				Body   []byte
			}
			if err := json.Unmarshal(data, &e); err != nil {
				t.Fatal(err)
			}
			maps.Copy(e.Header, tt.header)
			e.Header["Micro-Topic"] = tt.topic
			passed, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			got, err := micro.Unmarshal(tt.topic, passed, received)
			if err != nil || got.ID != tt.want || !got.Time.Equal(tt.time) || len(got.Header) > 0 {
				t.Errorf("Unmarshal(%s) = %+v, %v, want ID %q at %v", passed, got, err, tt.want, tt.time)
			}
		})
	}
}

func TestUnmarshalErrors(t *testing.T) {
	for _, data := range []string{"", "{", "[]", `"a"`, `{"Header":{"a":1}}`, `{"Body":"%"}`, `{"Body":{}}`, "\xff"} {
		if got, err := micro.Unmarshal("a", []byte(data), time.Now()); !errors.Is(err, broker.ErrMessage) {
			t.Errorf("Unmarshal(%q) = %+v, %v, want ErrMessage", data, got, err)
		}
	}
	for _, data := range []string{"{}", "null", `{"Header":null,"Body":null}`, `{"header":{":topic":"x","bad name":"x"},"more":1}`} {
		got, err := micro.Unmarshal("a", []byte(data), time.Now())
		if err != nil || len(got.Header) > 0 || len(got.Body) > 0 || got.ID != "" {
			t.Errorf("Unmarshal(%q) = %+v, %v, want an empty message", data, got, err)
		}
	}
}

// FuzzUnmarshal holds that whatever is read can be written and read again.
func FuzzUnmarshal(f *testing.F) {
	for _, file := range []string{"nats-v6-publish-json.txt", "nats-handmade-event.json", "http-v6-publish.txt"} {
		f.Add(payload(f, file))
	}
	f.Add([]byte(`{"Header":{"Micro-Id":"1","Goapi-Mark":"2006-01-02T15:04:05.5+01:00 orders 1"}}`))
	f.Add([]byte(`{"Header":{"!Micro-Topic":"x","Micro-ID":"y","a b":"\n"},"Body":"AP8="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := micro.Unmarshal("orders", data, time.Unix(1, 0))
		if err != nil {
			return
		}
		if err := m.Check(); err != nil {
			t.Fatalf("Unmarshal(%q) = %+v, which breaks the rules: %v", data, m, err)
		}
		again, err := micro.Marshal("orders", &m)
		if err != nil {
			t.Fatalf("Marshal(%+v) error = %v", m, err)
		}
		got, err := micro.Unmarshal("orders", again, time.Unix(2, 0))
		if err != nil || got.ID != m.ID || !maps.Equal(got.Header, m.Header) || !bytes.Equal(got.Body, m.Body) || !got.Time.Equal(m.Time) {
			t.Fatalf("Unmarshal(Marshal(%+v)) = %+v, %v", m, got, err)
		}
	})
}
