package fence_test

import (
	"io/fs"
	"os"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/goapi-dev/goapi/internal/fence"
)

// tree is the module that this package belongs to.
func tree() fs.FS { return os.DirFS("../..") }

func TestTree(t *testing.T) {
	broken, err := fence.Imports(tree())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range broken {
		t.Error(line)
	}
}

func TestPackagesShowThemselves(t *testing.T) {
	missing, err := fence.Shows(tree())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range missing {
		t.Error(line)
	}
}

func TestImports(t *testing.T) {
	const ours = "github.com/goapi-dev/goapi"
	tests := []struct {
		name, file, imports string
		want                []string
	}{
		{"what the diagram shows", "router/table.go", ours + "/registry", nil},
		{"the root", "router/table.go", ours, nil},
		{
			"up the diagram", "resolver/path.go", ours + "/registry",
			[]string{"resolver/path.go imports registry: not allowed; see rooms in internal/fence"},
		},
		{
			"from the root up", "gateway.go", ours + "/router",
			[]string{"gateway.go imports router: not allowed; see rooms in internal/fence"},
		},
		{
			"a longer path than a room's", "router/table.go", ours + "/registry/nats",
			[]string{"router/table.go imports registry/nats: not allowed; see rooms in internal/fence"},
		},
		{"the standard library", "registry/json.go", "encoding/json", nil},
		{"a module of the room", "nats/server.go", "github.com/nats-io/nats-server/v2/server", nil},
		{
			"a module of another room", "registry/memory.go", "github.com/nats-io/nats.go",
			[]string{"registry/memory.go imports github.com/nats-io/nats.go: not allowed; see modules in internal/fence"},
		},
		{
			"a module whose name begins alike", "nats/server.go", "github.com/nats-io/nats.gone",
			[]string{"nats/server.go imports github.com/nats-io/nats.gone: not allowed; see modules in internal/fence"},
		},
		{
			"a module whose path begins as ours", "router/table.go", ours + "-else/registry",
			[]string{"router/table.go imports " + ours + "-else/registry: not allowed; see modules in internal/fence"},
		},
		{"a test of anything below", "resolver/path_test.go", ours + "/registry/nats", nil},
		{"a test of any module", "resolver/path_test.go", "pgregory.net/rapid", nil},
		{"a test of its own package", "resolver/path_test.go", ours + "/resolver", nil},
		{
			"a test of what stands above", "resolver/path_test.go", ours + "/standard",
			[]string{"resolver/path_test.go imports standard: not allowed; see rooms in internal/fence"},
		},
		{"standard knows all", "standard/registry.go", ours + "/registry/nats", nil},
		{"cmd uses all", "cmd/goapi/main.go", "github.com/spf13/cobra", nil},
		{
			"a room that nobody named", "util/strings.go", "strings",
			[]string{"util is no room: name it in rooms in internal/fence"},
		},
		{"a user of the rooms", "examples/mux/main.go", ours + "/standard", nil},
		{"a room's data", "router/testdata/broken.go", ours + "/handler", nil},
		{"not Go", "router/notes.txt", ours + "/handler", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := fence.Imports(fstest.MapFS{
				tt.file: {Data: []byte("package p\n\nimport _ \"" + tt.imports + "\"\n")},
			})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("Imports(%s with %s) = %q, want %q", tt.file, tt.imports, got, tt.want)
			}
		})
	}
}

func TestImportsNamesARoomOnce(t *testing.T) {
	got, err := fence.Imports(fstest.MapFS{
		"util/a.go": {Data: []byte("package util\n")},
		"util/b.go": {Data: []byte("package util\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 {
		t.Errorf("Imports of a room that nobody named = %q, want one line", got)
	}
}

func TestImportsOfWhatIsNotGo(t *testing.T) {
	_, err := fence.Imports(fstest.MapFS{"router/table.go": {Data: []byte("no package")}})
	if err == nil {
		t.Error("Imports of a file that does not parse: no error")
	}
}

func TestShows(t *testing.T) {
	const (
		documented = "// Package p is a noun.\npackage p\n"
		bare       = "package p\n"
		runs       = "package p_test\n\nfunc Example() {\n\t// Output: 1\n}\n"
		compiles   = "package p_test\n\nfunc Example() {\n}\n"
	)
	tests := []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"both", map[string]string{"p/p.go": documented, "p/example_test.go": runs}, nil},
		{"the comment in another file", map[string]string{"p/a.go": bare, "p/p.go": documented, "p/example_test.go": runs}, nil},
		{
			"no comment", map[string]string{"p/p.go": bare, "p/example_test.go": runs},
			[]string{"p has no package comment: say what it is and how it behaves"},
		},
		{
			"no example", map[string]string{"p/p.go": documented},
			[]string{"p has no example that runs: write one with an Output comment"},
		},
		{
			"an example that does not run", map[string]string{"p/p.go": documented, "p/example_test.go": compiles},
			[]string{"p has no example that runs: write one with an Output comment"},
		},
		{
			"a suite needs no example", map[string]string{"p/ptest/p.go": bare},
			[]string{"p/ptest has no package comment: say what it is and how it behaves"},
		},
		{"a command", map[string]string{"cmd/p/main.go": "package main\n"}, nil},
		{"an internal package", map[string]string{"internal/p/p.go": bare}, nil},
		{"only tests", map[string]string{"p/p_test.go": bare}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := fstest.MapFS{}
			for name, src := range tt.files {
				files[name] = &fstest.MapFile{Data: []byte(src)}
			}
			got, err := fence.Shows(files)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("Shows = %q, want %q", got, tt.want)
			}
		})
	}
}
