package proto_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/goapi-dev/goapi/proto"
)

func pair(key string, values ...string) *proto.Pair {
	return &proto.Pair{Key: key, Values: values}
}

// TestJSON reads what a gateway's call and a service's answer were recorded
// as, in both dialects of JSON, and writes it again.
func TestJSON(t *testing.T) {
	tests := []struct {
		file string
		got  protobuf.Message
		want protobuf.Message
	}{
		{"request.json", new(proto.Request), &proto.Request{
			Method: "POST", Path: "/echo/x", Url: "/echo/x?a=1", Body: "raw",
			Header: map[string]*proto.Pair{"Host": pair("Host", "h")},
			Get:    map[string]*proto.Pair{"a": pair("a", "1")},
		}},
		{"response.json", new(proto.Response), &proto.Response{
			StatusCode: 202,
			Header:     map[string]*proto.Pair{"Content-Type": pair("Content-Type", "text/plain"), "X-Echo": pair("X-Echo", "a", "b")},
			Body:       `method=POST path=/echo/x url=/echo/x?a=1 get=map[a:key:"a"  values:"1"] post=map[] body="raw" headers=[Host=h]`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			recorded := read(t, tt.file)
			if err := protojson.Unmarshal(recorded, tt.got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, tt.got, protocmp.Transform()); diff != "" {
				t.Errorf("protojson reads (-want +got)\n%s", diff)
			}
			protobuf.Reset(tt.got)
			if err := json.Unmarshal(recorded, tt.got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, tt.got, protocmp.Transform()); diff != "" {
				t.Errorf("encoding/json reads (-want +got)\n%s", diff)
			}
			for name, write := range map[string]func(protobuf.Message) ([]byte, error){
				"protojson":                    protojson.Marshal,
				"protojson with proto's names": protojson.MarshalOptions{UseProtoNames: true}.Marshal,
				"encoding/json":                func(m protobuf.Message) ([]byte, error) { return json.Marshal(m) },
			} {
				text, err := write(tt.want)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(members(t, recorded), members(t, text)); diff != "" {
					t.Errorf("%s writes (-want +got)\n%s", name, diff)
				}
			}
		})
	}
}

// TestEventAsRecorded reads an event that subscribers of three versions took.
func TestEventAsRecorded(t *testing.T) {
	var message struct{ Body []byte }
	if err := json.Unmarshal(read(t, "event.json"), &message); err != nil {
		t.Fatal(err)
	}
	got := new(proto.Event)
	if err := protobuf.Unmarshal(message.Body, got); err != nil {
		t.Fatal(err)
	}
	want := &proto.Event{
		Name: "login", Id: "go.micro.evt.user-login-1", Timestamp: 1700000000,
		Header: map[string]*proto.Pair{"Content-Type": pair("Content-Type", "application/json")},
		Data:   `{"a":1}`,
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("event (-want +got)\n%s", diff)
	}
	written, err := protobuf.MarshalOptions{Deterministic: true}.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(written, message.Body) {
		t.Errorf("event = %x, want %x", written, message.Body)
	}
}

// TestWire holds the number and kind of every field.
func TestWire(t *testing.T) {
	p := func(key string) map[string]*proto.Pair { return map[string]*proto.Pair{key: pair(key, "v")} }
	tests := []struct {
		name string
		msg  protobuf.Message
		want string // in hexadecimal: tag, length, value
	}{
		{"pair", pair("k", "a", "b"), "0a016b" + "120161" + "120162"},
		{
			"request",
			&proto.Request{Method: "M", Path: "P", Header: p("h"), Get: p("g"), Post: p("p"), Body: "B", Url: "U"},
			"0a014d" + "120150" +
				"1a0b" + "0a0168" + "1206" + "0a0168" + "120176" +
				"220b" + "0a0167" + "1206" + "0a0167" + "120176" +
				"2a0b" + "0a0170" + "1206" + "0a0170" + "120176" +
				"320142" + "3a0155",
		},
		{
			"response",
			&proto.Response{StatusCode: 202, Header: p("h"), Body: "B"},
			"08ca01" + "120b" + "0a0168" + "1206" + "0a0168" + "120176" + "1a0142",
		},
		{
			"event",
			&proto.Event{Name: "N", Id: "I", Timestamp: 300, Header: p("h"), Data: "D"},
			"0a014e" + "120149" + "18ac02" + "220b" + "0a0168" + "1206" + "0a0168" + "120176" + "2a0144",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := protobuf.MarshalOptions{Deterministic: true}.Marshal(tt.msg)
			if err != nil {
				t.Fatal(err)
			}
			if hex.EncodeToString(got) != tt.want {
				t.Errorf("message = %x, want %s", got, tt.want)
			}
			if got := string(tt.msg.ProtoReflect().Descriptor().ParentFile().Package()); got != "go.api" {
				t.Errorf("package = %s, want go.api", got)
			}
		})
	}
}

func members(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
