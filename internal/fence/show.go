package fence

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"io/fs"
	"slices"
	"strings"
)

// Shows returns one line for each exported package below the root of tree that
// has no package comment, or no example that runs: one with an output to
// compare. Suites (registrytest) need no example; their users' tests are one.
func Shows(tree fs.FS) ([]string, error) {
	packages := map[string]*shown{}
	err := walk(tree, parser.ParseComments|parser.SkipObjectResolution, func(dir, name string, f *ast.File) {
		p := packages[dir]
		if p == nil {
			p = new(shown)
			packages[dir] = p
		}
		p.add(name, f)
	})
	var missing []string
	for dir, p := range packages {
		if !p.exported || strings.HasPrefix(dir, "internal/") {
			continue
		}
		if !p.comment {
			missing = append(missing, dir+" has no package comment: say what it is and how it behaves")
		}
		if !p.example && !strings.HasSuffix(dir, "test") {
			missing = append(missing, dir+" has no example that runs: write one with an Output comment")
		}
	}
	slices.Sort(missing)
	return missing, err
}

// shown is what was seen of a package.
type shown struct{ exported, comment, example bool }

// add looks at one file of the package.
func (p *shown) add(name string, f *ast.File) {
	if isTest(name) {
		p.example = p.example || slices.ContainsFunc(doc.Examples(f), func(e *doc.Example) bool {
			return e.Output != "" || e.EmptyOutput
		})
		return
	}
	p.exported = p.exported || f.Name.Name != "main"
	p.comment = p.comment || f.Doc != nil
}
