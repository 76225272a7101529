package config

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"reflect"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// unknownAnchor begins what the parser says of an alias of nothing.
const unknownAnchor = "unknown anchor '"

// Load reads a file. What the environment says is asked of env, as os.LookupEnv
// answers it. What is wrong with the file is an *[Error] that tells of every
// mistake, one line each.
func Load(path string, env func(string) (string, bool)) (*File, error) {
	f, _, err := load(path, env)
	return f, err
}

// load is Load that tells which files were read, or were to be.
func load(path string, env func(string) (string, bool)) (*File, inputs, error) {
	in := inputs{}
	full, err := filepath.Abs(path) // the working directory may change
	if err != nil {
		return nil, in, &Error{[]Mistake{{File: path, Reason: err.Error()}}}
	}
	text, err := in.read(full)
	if err != nil {
		return nil, in, &Error{[]Mistake{{File: path, Reason: err.Error() + "; give a file in YAML of at most " + Size(maxFile).String()}}}
	}
	f, err := parse(path, filepath.Dir(full), text, env, in)
	return f, in, err
}

// Parse reads a text as Load reads a file of that name: the file itself is not
// looked at, but those are that the text names.
func Parse(name string, text []byte, env func(string) (string, bool)) (*File, error) {
	dir, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		return nil, &Error{[]Mistake{{File: name, Reason: err.Error()}}}
	}
	if len(text) > maxFile {
		return nil, &Error{[]Mistake{{File: name, Reason: "it has more than " + Size(maxFile).String() + "; write less"}}}
	}
	return parse(name, dir, text, env, inputs{})
}

func parse(name, dir string, text []byte, env func(string) (string, bool), in inputs) (*File, error) {
	f := &File{name: name, places: map[string]place{"": {1, 1}}, inputs: in}
	root, mistake := tree(text)
	if mistake != nil {
		mistake.File = name
		return nil, &Error{[]Mistake{*mistake}}
	}
	if root == nil {
		f.empty = true
		return f, nil
	}
	d := newDecoder(name, dir, env)
	d.places, d.inputs = f.places, in
	d.value(root, reflect.ValueOf(f).Elem(), "", &field{})
	if root.Kind == yaml.MappingNode {
		f.check(d)
	}
	if err := errorOf(d.mistakes); err != nil {
		return nil, err
	}
	f.unfollow()
	return f, nil
}

func newDecoder(name, dir string, env func(string) (string, bool)) *decoder {
	return &decoder{
		file: name, dir: dir, env: env, left: maxVisits,
		places: map[string]place{}, inputs: inputs{}, patterns: map[string]*regexp.Regexp{}, failed: map[string]bool{}, fields: map[reflect.Type][]field{},
	}
}

// tree reads YAML as a tree, nil for a text that says nothing.
func tree(text []byte) (*yaml.Node, *Mistake) {
	if at := invalid(text); at >= 0 {
		m := mistakeAt(text, at, "it is not in UTF-8; save it as that")
		if utf8.FullRune(text[at:]) && text[at] < utf8.RuneSelf {
			m.Reason = "there is a control character; remove it"
		}
		return nil, m
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	doc := new(yaml.Node)
	if err := d.Decode(doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, syntaxMistake(err, string(text))
	}
	second := new(yaml.Node)
	switch err := d.Decode(second); {
	case err == nil:
		return nil, &Mistake{Line: second.Line, Column: second.Column, Reason: "a second document begins; write one"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxMistake(err, string(text))
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil, nil
	}
	return root, nil
}

// invalid returns where the first byte is that no text in YAML has, or -1.
func invalid(text []byte) int {
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 || r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f {
			return at
		}
		at += size
	}
	return -1
}

// mistakeAt returns a mistake at a byte of a text.
func mistakeAt(text []byte, at int, reason string) *Mistake {
	before := text[:at]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := at - bytes.LastIndexByte(before, '\n')
	return &Mistake{Line: line, Column: column, Reason: reason}
}

// syntaxMistake returns what the parser says of a text, and where. The line that
// it names is often that where something began, and may be none, so that it is
// looked for: the first after which the parser says the same.
func syntaxMistake(err error, text string) *Mistake {
	said := saying(err)
	lines := strings.SplitAfter(text, "\n")
	line := sort.Search(len(lines)-1, func(i int) bool {
		return saying(scan(strings.Join(lines[:i+1], ""))) == said
	})
	m := &Mistake{Line: line + 1, Reason: "it is no YAML: " + said}
	explain(m, said, strings.TrimRight(lines[line], "\r\n"))
	return m
}

// scan returns what the parser says of a text.
func scan(text string) error {
	d := yaml.NewDecoder(strings.NewReader(text))
	for {
		if err := d.Decode(new(yaml.Node)); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// saying returns what an error of the parser says, less the line.
func saying(err error) string {
	if err == nil {
		return ""
	}
	said := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(said, "line "); ok {
		if _, reason, ok := strings.Cut(rest, ": "); ok {
			return reason
		}
	}
	return said
}

// explain says what to write instead of what the parser did not understand, and
// finds the column in the line.
func explain(m *Mistake, said, line string) {
	indent := len(line) - len(strings.TrimLeft(line, " \t"))
	at := indent
	switch {
	case strings.Contains(said, "cannot start any token") && strings.Contains(line[:indent], "\t"):
		at = strings.IndexByte(line, '\t')
		m.Reason = "there is a tab; indent with spaces"
	case strings.Contains(said, "cannot start any token"):
		if i := strings.IndexAny(line, "@`%\t"); i >= 0 {
			at = i
		}
		m.Reason += `; put the text in quotes: "…"`
	case strings.Contains(said, "mapping values are not allowed"):
		if first := strings.IndexByte(line, ':'); first >= 0 {
			if i := strings.IndexByte(line[first+1:], ':'); i >= 0 {
				at = first + 1 + i
			}
		}
		m.Reason = `there is a ":" too many; put a text that holds one in quotes: "…", or look at the indentation`
	case strings.HasPrefix(said, unknownAnchor):
		name, _, _ := strings.Cut(strings.TrimPrefix(said, unknownAnchor), "'")
		m.Reason = "there is no anchor &" + clip(name) + " before this alias; write one, or put the text in quotes"
		at = max(strings.Index(line, "*"+name), 0)
	case strings.HasPrefix(said, "found unknown escape"):
		m.Reason += `; write \\ for a backslash, or put the text in single quotes`
		at = max(strings.IndexByte(line, '\\'), 0)
	case strings.HasPrefix(said, "did not find expected ','") && strings.Contains(line, "${"):
		m.Reason += `; put "${NAME}" in quotes between braces and brackets`
		at = strings.Index(line, "${")
	case strings.HasPrefix(said, "did not find expected ','") && strings.Contains(line, "/{"):
		m.Reason += `; put a path with a "{name}" in quotes between braces and brackets`
		at = strings.Index(line, "/{")
	case strings.HasPrefix(said, "did not find expected ','") && strings.Contains(line, "?"):
		m.Reason += `; put a text with a "?" in quotes between brackets`
		at = strings.IndexByte(line, '?')
	case strings.HasPrefix(said, "did not find expected"), strings.HasPrefix(said, "found unexpected"), strings.HasPrefix(said, "could not find expected"):
		m.Reason += "; look at the indentation, the quotes and the brackets"
	}
	m.Column = at + 1
}
