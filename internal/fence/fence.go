// Package fence is the architecture as a test: what each room may import, and
// what each exported package must show.
//
// Files that are built into the gateway are judged strictly: [rooms] lists
// which of our packages a room may import, [modules] which of other people's;
// the standard library is free. Tests are judged leniently: they may import
// every room and module, to bring a whole gateway to life, but not standard
// and cmd, which stand above all. The directories examples, bench and test are
// outside: they use the rooms as a stranger would.
package fence

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is the path of the module whose rooms these are.
const module = "github.com/goapi-dev/goapi"

// anything, in a list, allows all.
const anything = "*"

// rooms is the diagram: room → the rooms that it may import.
func rooms() map[string][]string {
	return map[string][]string{
		"registry":              {},
		"registry/registrytest": {"registry"},
		"registry/consul":       {"registry", "internal/urls"},
		"registry/etcd":         {"registry", "internal/urls"},
		"registry/file":         {"registry", "internal/files", "internal/spelling", "internal/urls"},
		"registry/mdns":         {"registry", "internal/urls"},
		"registry/micro":        {"registry", "nats"},
		"registry/nats":         {"registry", "nats"},

		"upstream": {"registry"},
		".":        {"upstream", "registry"},
		"resolver": {},
		"router":   {".", "resolver", "upstream", "registry"},

		"config":              {".", "middleware", "ratelimit", "registry", "upstream", "internal/files", "internal/spelling"},
		"metrics":             {".", "broker", "push", "registry", "router", "upstream"},
		"middleware":          {".", "ratelimit"},
		"middleware/compress": {"."},
		"middleware/jwt":      {".", "middleware"},
		"ratelimit":           {},
		"ratelimit/nats":      {"ratelimit", "nats"},
		"tracing":             {"."},

		"client":            {".", "registry", "internal/mucp", "internal/wire"},
		"client/clienttest": {".", "registry", "client"},
		"client/grpc":       {".", "registry", "client", "internal/mucp"},

		"handler": {".", "broker", "client", "registry", "upstream", "internal/mucp", "internal/wire", "proto"},
		"service": {".", "registry", "internal/mucp"},
		"server":  {"internal/files"},

		"server/acme": {"nats"},

		"admin": {".", "push", "router", "upstream", "registry"},

		"broker":            {},
		"broker/brokertest": {"broker"},
		"broker/micro":      {"broker", "registry", "internal/urls"},
		"broker/nats":       {"broker", "broker/micro", "nats"},

		"push": {".", "broker", "client", "registry", "upstream", "internal/mucp"},

		"nats":              {"internal/urls"},
		"proto":             {},
		"internal/files":    {},
		"internal/mucp":     {},
		"internal/spelling": {},
		"internal/urls":     {},
		"internal/wire":     {},
		"internal/fence":    {},

		"standard":  {anything},
		"cmd/goapi": {anything},
	}
}

// modules holds, for each room that needs any, the modules and packages of
// others that it may import.
func modules() map[string][]string {
	return map[string][]string{
		"resolver":              {"golang.org/x/net/publicsuffix"},
		"registry/registrytest": {"github.com/google/go-cmp"},
		"registry/consul":       {"github.com/hashicorp/consul/api"},
		"registry/etcd":         {"go.etcd.io/etcd/client/v3", "go.etcd.io/etcd/api/v3", "go.uber.org/zap", "google.golang.org/grpc"},
		"registry/file":         {"github.com/fsnotify/fsnotify", "go.yaml.in/yaml/v3"},
		"registry/mdns":         {"golang.org/x/net/dns/dnsmessage", "golang.org/x/net/ipv4", "golang.org/x/net/ipv6", "golang.org/x/sys"},
		"registry/micro":        {"github.com/nats-io/nats.go"},
		"registry/nats":         {"github.com/nats-io/nats.go"},
		"admin":                 {"golang.org/x/net/http/httpguts"},
		"broker/micro":          {"golang.org/x/sync/errgroup"},
		"broker/nats":           {"github.com/nats-io/nats.go"},
		"nats":                  {"github.com/nats-io/nats.go", "github.com/nats-io/nats-server/v2"},
		"client":                {"golang.org/x/net/http/httpguts"},
		"client/clienttest":     {"golang.org/x/sync/errgroup"},
		"client/grpc":           {"google.golang.org/grpc", "google.golang.org/protobuf", "google.golang.org/genproto/googleapis/rpc"},
		"handler":               {"github.com/cloudevents/sdk-go/v2", "github.com/coder/websocket", "golang.org/x/net/http/httpguts", "google.golang.org/protobuf"},
		"config":                {"go.yaml.in/yaml/v3", "golang.org/x/net/http/httpguts"},
		"metrics":               {"github.com/prometheus/client_golang"},
		"middleware":            {"golang.org/x/crypto/bcrypt", "golang.org/x/net/http/httpguts"},
		"middleware/compress":   {"github.com/klauspost/compress"},
		"middleware/jwt":        {"github.com/golang-jwt/jwt/v5", "github.com/MicahParks/jwkset", "golang.org/x/time/rate"},
		"ratelimit/nats":        {"github.com/nats-io/nats.go"},
		"tracing":               {"go.opentelemetry.io/otel"},
		"server":                {"github.com/pires/go-proxyproto"},
		"server/acme":           {"github.com/caddyserver/certmagic", "github.com/mholt/acmez/v3", "github.com/nats-io/nats.go", "go.uber.org/zap"},
		"push":                  {"github.com/cloudevents/sdk-go/v2", "golang.org/x/sync/errgroup"},
		"proto":                 {"google.golang.org/protobuf"},
		"service":               {"google.golang.org/protobuf"},
		"internal/files":        {"github.com/fsnotify/fsnotify"},
		"internal/mucp":         {"golang.org/x/net/http/httpguts", "google.golang.org/protobuf/encoding/protowire"},
		"standard":              {anything},
		"cmd/goapi":             {anything},
	}
}

// outside says that a directory is not fenced: it uses the rooms from outside,
// or holds no code of ours.
func outside(dir string) bool {
	switch dir {
	case "examples", "bench", "test":
		return true
	}
	name := path.Base(dir)
	return dir != "." && (name == "testdata" || name[0] == '.' || name[0] == '_')
}

// above says that a room knows all the others, so that not even their tests
// may import it.
func above(room string) bool {
	return room == "standard" || strings.HasPrefix(room, "cmd/")
}

// Imports returns one line for each import below the root of tree that the
// lists do not allow, and for each room that they do not name.
func Imports(tree fs.FS) ([]string, error) {
	may, others := rooms(), modules()
	unnamed := map[string]bool{}
	var broken []string
	err := walk(tree, parser.ImportsOnly, func(room, name string, f *ast.File) {
		if _, ok := may[room]; !ok {
			if !unnamed[room] {
				broken = append(broken, room+" is no room: name it in rooms in internal/fence")
			}
			unnamed[room] = true
			return
		}
		for _, spec := range f.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value) // the parser has seen to it
			if to, ours := roomOf(imported); ours {
				if !mayImport(may[room], room, to, isTest(name)) {
					broken = append(broken, fmt.Sprintf("%s imports %s: not allowed; see rooms in internal/fence", name, to))
				}
			} else if !isTest(name) && !mayUse(others[room], imported) {
				broken = append(broken, fmt.Sprintf("%s imports %s: not allowed; see modules in internal/fence", name, imported))
			}
		}
	})
	return broken, err
}

// mayImport says whether a file of a room may import another of our rooms.
func mayImport(allowed []string, room, to string, test bool) bool {
	if to == room || slices.Contains(allowed, anything) {
		return true
	}
	if test {
		return !above(to)
	}
	return slices.Contains(allowed, to)
}

// mayUse says whether a package that is not ours is the standard library's, or
// within one of the allowed modules.
func mayUse(allowed []string, imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") {
		return true
	}
	return slices.ContainsFunc(allowed, func(m string) bool {
		return m == anything || imported == m || strings.HasPrefix(imported, m+"/")
	})
}

// roomOf returns the directory of a package, if it is one of ours.
func roomOf(imported string) (room string, ours bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

func isTest(name string) bool { return strings.HasSuffix(name, "_test.go") }

// walk parses every fenced Go file below the root of tree, in the order of
// their names. Build constraints are not asked.
func walk(tree fs.FS, mode parser.Mode, visit func(dir, name string, f *ast.File)) error {
	fset := token.NewFileSet()
	return fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if outside(name) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(fset, name, src, mode)
		if err != nil {
			return fmt.Errorf("fence: %w", err)
		}
		visit(path.Dir(name), name, f)
		return nil
	})
}
