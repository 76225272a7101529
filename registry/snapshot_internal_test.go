package registry

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSnapshotRoundTrip(t *testing.T) {
	texts := rapid.String()
	metadata := rapid.MapOfN(texts, texts, 0, 3)
	endpoints := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *Endpoint {
		e := &Endpoint{Name: texts.Draw(t, "name"), Metadata: metadata.Draw(t, "metadata")}
		if rapid.Bool().Draw(t, "request") {
			e.Request = &Value{Name: texts.Draw(t, "value"), Values: []*Value{{Type: texts.Draw(t, "type")}}}
		}
		return e
	}), 1, 5)
	rapid.Check(t, func(t *rapid.T) {
		shared := endpoints.Draw(t, "endpoints")
		want := &snapshot{registry: texts.Draw(t, "registry"), heard: time.Unix(rapid.Int64Range(1, 1<<33).Draw(t, "heard"), 0)}
		for i := range rapid.IntRange(0, 5).Draw(t, "services") {
			s := &Service{Name: fmt.Sprintf("%d%s", i, texts.Draw(t, "name")), Version: texts.Draw(t, "version"), Metadata: metadata.Draw(t, "metadata")}
			s.Endpoints = rapid.SliceOfN(rapid.SampledFrom(shared), 0, 3).Draw(t, "of the service")
			s.Nodes = []*Node{{ID: texts.Draw(t, "id"), Address: texts.Draw(t, "address"), Metadata: metadata.Draw(t, "metadata")}}
			want.services = append(want.services, s)
		}
		want.notes = metadata.Draw(t, "notes")
		var b bytes.Buffer
		if err := want.encode(&b, func() {}); err != nil {
			t.Fatalf("encode() error = %v", err)
		}
		got, err := decodeSnapshot(b.Bytes())
		if err != nil {
			t.Fatalf("decodeSnapshot() error = %v\n%s", err, &b)
		}
		if got.registry != want.registry || !got.heard.Equal(want.heard) || !maps.Equal(got.notes, want.notes) {
			t.Fatalf("decodeSnapshot() = %+v, want %+v", got, want)
		}
		if !slices.EqualFunc(got.services, want.services, func(a, b *Service) bool { return a.Name == b.Name && equalServices(a, b) }) {
			t.Fatalf("services = %v, want %v", got.services, want.services)
		}
		if a, b := distinct(got.services), distinct(want.services); a != b {
			t.Fatalf("there are %d endpoints, want %d that are shared", a, b)
		}
	})
}

func TestSnapshotDecode(t *testing.T) {
	const (
		head    = "\x03bus\x00\x00" // the registry, the time, no notes
		noMeta  = "\x00"
		nodes   = "\x01\x011\x00\x00"                                            // one
		service = "\x01a\x00" + noMeta + "\x00" + nodes                          // no version, no endpoints
		first   = "\x01b\x00" + noMeta + "\x02\x00\x01e\x00\x00\x00\x00" + nodes // the same endpoint twice
	)
	tests := []struct {
		name string
		data string
		want string // an error, or the names of the services
	}{
		{"nothing", head, ""},
		{"a service", head + service, "a"},
		{"services that share an endpoint", head + first + "\x01c\x00" + noMeta + "\x01\x00" + nodes, "b c"},
		{"out of order", head + first + service, "a b"},
		{"empty", "", errSnapshot.Error()},
		{"half a head", "\x03bu", errSnapshot.Error()},
		{"half a service", head + service[:6], errSnapshot.Error()},
		{"no name", head + "\x00\x00" + noMeta + "\x00" + nodes, errSnapshot.Error()},
		{"no nodes", head + "\x01a\x00" + noMeta + "\x00\x00", errSnapshot.Error()},
		{"an endpoint to come", head + "\x01a\x00" + noMeta + "\x01\x01" + nodes, errSnapshot.Error()},
		{"more nodes than bytes", head + "\x01a\x00" + noMeta + "\x00\xff\xff\x03" + nodes, errSnapshot.Error()},
		{"more metadata than bytes", head + "\x01a\x00\xff\xff\x03\x00" + nodes, errSnapshot.Error()},
		{"a number without an end", head + strings.Repeat("\xff", 20), errSnapshot.Error()},
		{"values that nest too deep", head + "\x01a\x00" + noMeta + "\x01\x00\x01e" + strings.Repeat("\x01\x00\x00\x01", 1000) + nodes, errSnapshot.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeSnapshot(summed(tt.data))
			text := fmt.Sprint(err)
			if err == nil {
				var names []string
				for _, s := range got.services {
					names = append(names, s.Name)
				}
				text = strings.Join(names, " ")
			}
			if text != tt.want {
				t.Errorf("decodeSnapshot() = %s, want %s", text, tt.want)
			}
		})
	}
}

// TestSnapshotWithoutWhatCannotBeRead: what a source should not have told does
// not cost the rest.
func TestSnapshotWithoutWhatCannotBeRead(t *testing.T) {
	node := []*Node{{ID: "1"}}
	snap := &snapshot{services: []*Service{
		{Name: "", Nodes: node}, {Name: "a"}, {Name: "b", Nodes: node}, {Name: "\xf0\x9f\x98\x80", Nodes: node}, {Name: "\xff", Nodes: node},
	}}
	var b bytes.Buffer
	if err := snap.encode(&b, func() {}); err != nil {
		t.Fatal(err)
	}
	got, err := decodeSnapshot(b.Bytes())
	if err != nil || len(got.services) != 3 {
		t.Fatalf("decodeSnapshot() = %+v, %v, want 3 services", got, err)
	}
}

func TestSnapshotIsBounded(t *testing.T) {
	e := &snapshotEncoder{to: bufio.NewWriter(io.Discard), sum: sha256.New(), size: maxSnapshot - 5}
	for range 2 {
		e.service(&Service{Name: "a", Nodes: []*Node{{ID: "1"}}})
	}
	if e.err == nil || !strings.Contains(e.err.Error(), "more than 536870912 bytes") {
		t.Errorf("error = %v, want that it is too large", e.err)
	}
	if err := (&snapshot{}).encode(full{}, func() {}); !errors.Is(err, errFull) {
		t.Errorf("encode() to a full disk: error = %v, want %v", err, errFull)
	}
}

// FuzzSnapshot: any bytes are an error or a state that is valid, and that is
// the same when it is written and read again. The sum is made right,
// since nothing comes past a wrong one.
func FuzzSnapshot(f *testing.F) {
	var b bytes.Buffer
	e := &Endpoint{Name: "e", Request: &Value{Name: "r", Values: []*Value{{Type: "string"}}}, Metadata: map[string]string{"path": "/a"}}
	seed := &snapshot{registry: "bus", heard: time.Unix(1, 0), notes: map[string]string{"k": "v"}, services: []*Service{
		{Name: "a", Version: "1", Endpoints: []*Endpoint{e, e}, Nodes: []*Node{{ID: "1", Address: "10.0.0.1:80"}, {ID: "2"}}},
		{Name: "b", Metadata: map[string]string{"team": "blue"}, Endpoints: []*Endpoint{e}, Nodes: []*Node{{ID: "1"}}},
	}}
	if err := seed.encode(&b, func() {}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes(), false)
	f.Add(b.Bytes()[len(snapshotFormat):b.Len()-sha256.Size], true)
	f.Fuzz(func(t *testing.T, data []byte, right bool) {
		if right {
			data = summed(string(data))
		}
		snap, err := decodeSnapshot(data)
		if (snap == nil) == (err == nil) {
			t.Fatalf("decodeSnapshot() = %v, %v: want exactly one", snap, err)
		}
		if err != nil {
			return
		}
		wantValid(t, snap.services)
		var b bytes.Buffer
		if err := snap.encode(&b, func() {}); err != nil {
			t.Fatalf("encode() error = %v", err)
		}
		again, err := decodeSnapshot(b.Bytes())
		if err != nil {
			t.Fatalf("decodeSnapshot() of what was written: %v\n%s", err, &b)
		}
		if !slices.EqualFunc(again.services, snap.services, func(a, b *Service) bool { return a.Name == b.Name && equalServices(a, b) }) {
			t.Fatalf("services = %v, want %v", again.services, snap.services)
		}
		k := newKeeper((*SteadyOptions)(nil).orDefault(), snap.services, false)
		k.update(again.services, time.Now()) // it can be worked with
	})
}

func wantValid(t *testing.T, services []*Service) {
	t.Helper()
	if !slices.IsSortedFunc(services, func(a, b *Service) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the services are out of order")
	}
	for _, s := range services {
		if s.Name == "" || len(s.Nodes) == 0 || slices.Contains(s.Nodes, nil) || slices.Contains(s.Endpoints, nil) {
			t.Errorf("service %+v is not valid", s)
		}
	}
}

// summed returns a file with the right start and the right sum.
func summed(data string) []byte {
	data = snapshotFormat + data
	sum := sha256.Sum256([]byte(data))
	return append([]byte(data), sum[:]...)
}

// distinct returns how many endpoints there are, each counted once.
func distinct(services []*Service) int {
	seen := make(map[*Endpoint]bool)
	for _, s := range services {
		for _, e := range s.Endpoints {
			seen[e] = true
		}
	}
	return len(seen)
}

var errFull = errors.New("no space left")

// full is a disk without space.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }
