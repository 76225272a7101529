package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// TestDirectory holds a Directory to what every registry promises.
func TestDirectory(t *testing.T) {
	open := func(t *testing.T) registry.Registry { return &Directory{Path: t.TempDir()} }
	registrytest.Run(t, open, &registrytest.Options{
		MaxRecord: maxFile,
		Sever:     sever,
		FakeClock: true,
	})
}

// sever takes the directory away, as a disk in the network may go.
func sever(t testing.TB, reg registry.Registry) (restore func()) {
	dir := reg.(*Directory).Path
	move := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(dir, dir+".away")
	return func() { move(dir+".away", dir) }
}

// TestUnavailable has no directory: every call says so.
func TestUnavailable(t *testing.T) {
	d := &Directory{Path: filepath.Join(t.TempDir(), "nosuch")}
	s := &registry.Service{Name: "greeter", Nodes: []*registry.Node{{ID: "1", Address: "127.0.0.1:9000"}}}
	_, get := d.Get(t.Context(), "greeter")
	_, list := d.List(t.Context())
	tests := map[string]error{
		"Get":        get,
		"List":       list,
		"Register":   d.Register(t.Context(), s, time.Minute),
		"Deregister": d.Deregister(t.Context(), s),
	}
	for call, err := range tests {
		if !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("%s without a directory error = %v, want ErrUnavailable", call, err)
		}
	}
}

// TestLeftOut has files that others wrote, beside one that is right.
func TestLeftOut(t *testing.T) {
	const node = `{"name":"greeter","nodes":[{"id":"1","address":"127.0.0.1:9000"}]}`
	tests := []struct {
		name, text string
		reason     string // empty for what is passed over
	}{
		{"empty.json", "", "EOF"},
		{"half.json", `{"service":{"name":`, "unexpected EOF"},
		{"null.json", "null", "registry: name: a service needs a name"},
		{"address.json", `{"service":{"name":"a","nodes":[{"id":"1","address":"here"}]}}`, `registry: nodes[0].address: "here" is not host:port`},
		{"same.json", `{"service":` + node + `}`, `the record "yours.json" has a node with the same id`},
		{"expired.json", `{"expires":"2001-02-03T04:05:06Z","service":` + node + `}`, ""},
		{"notes.txt", "not for us", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{tt.name: tt.text, "yours.json": `{"service":` + node + `}`} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			d := &Directory{Path: dir}
			if got, err := d.List(t.Context()); err != nil || len(got) != 1 || len(got[0].Nodes) != 1 {
				t.Errorf("List() = %v, %v, want the node that is right", got, err)
			}
			var reason string
			for _, o := range d.LeftOut() {
				reason += o.Reason
			}
			if reason != tt.reason {
				t.Errorf("LeftOut() = %+v, want the reason %q", d.LeftOut(), tt.reason)
			}
		})
	}
}
