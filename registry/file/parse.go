package file

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A parser reads the text of a file. It reads again only the parts that have
// changed since the last good text: a thousand services take a parser of YAML
// 0.1 s. The zero value is ready for use.
type parser struct {
	parts map[string][]entry // of the last good text
}

// A part is one service of a list in block style, or more text than that.
type part struct {
	line int // how many lines are before it
	text string
}

// parse returns the services of a text, or the first mistake in it.
func (p *parser) parse(text string) ([]entry, *mistake) {
	parts := split(text)
	entries, known, wrong := p.read(parts)
	if wrong != nil || len(parts) == 0 {
		// What is wrong with a part may be right in the whole: an alias of what
		// stands before.
		all, err := readWhole(part{text: text})
		switch {
		case err == nil:
			entries, known = all, nil
		case err.syntax && wrong != nil && wrong.syntax:
			return nil, wrong // it is nearer to the place
		default:
			return nil, err
		}
	}
	if err := checkIDs(entries); err != nil {
		return nil, err
	}
	p.parts = known
	return entries, nil
}

// read reads parts, each as a list of its own.
func (p *parser) read(parts []part) ([]entry, map[string][]entry, *mistake) {
	entries := make([]entry, 0, len(parts))
	known := make(map[string][]entry, len(parts))
	for _, part := range parts {
		read, ok := p.parts[part.text]
		if !ok {
			var err *mistake
			if read, err = readPart(part); err != nil {
				return nil, nil, err
			}
		}
		known[part.text] = read
		for _, e := range read {
			e.line += part.line
			entries = append(entries, e)
		}
	}
	return entries, known, nil
}

// split returns the parts of a list of services in block style, below a first
// line "services:"; none for any other text. A part that is wrong because it was
// cut in the wrong place cannot be read: quotes and brackets do not close.
func split(text string) []part {
	if !hasPlainLines(text) {
		return nil
	}
	var parts []part
	begun, indent, start := false, -1, 0
	line := 0
	for at := 0; at < len(text); line++ {
		next := len(text)
		if i := strings.IndexByte(text[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		content := strings.TrimRight(text[at:next], "\r\n")
		bare := strings.TrimLeft(content, " ")
		depth := len(content) - len(bare)
		item := bare == "-" || strings.HasPrefix(bare, "- ")
		switch {
		case bare == "" || bare[0] == '#':
		case !begun:
			if !isHead(content) {
				return nil
			}
			begun = true
		case item && (indent < 0 || depth == indent):
			if indent >= 0 {
				parts[len(parts)-1].text = text[start:at]
			}
			indent, start = depth, at
			parts = append(parts, part{line: line})
		case indent < 0 || depth <= indent:
			return nil
		}
		at = next
	}
	if len(parts) > 0 {
		parts[len(parts)-1].text = text[start:]
	}
	return parts
}

// hasPlainLines says whether YAML sees the lines in a text that "\n" makes, and
// can read what stands outside of parts.
func hasPlainLines(text string) bool {
	if strings.Count(text, "\r") != strings.Count(text, "\r\n") {
		return false
	}
	for i := 0; i < len(text); {
		if c := text[i]; ' ' <= c && c < 0x7f || c == '\n' {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError || !unicode.IsPrint(r) && r != '\r' && r != '\t' {
			return false
		}
		i += size
	}
	return true
}

// isHead says whether a line begins the list of services.
func isHead(line string) bool {
	rest, ok := strings.CutPrefix(line, keyServices+":")
	if !ok {
		return false
	}
	rest = strings.TrimLeft(rest, " ")
	return rest == "" || rest[0] == '#' && len(line) > len(keyServices+":")+len(rest)
}

// readPart reads a list in YAML whose lines are counted from its start.
func readPart(p part) ([]entry, *mistake) {
	doc, err := load(p)
	if err != nil {
		return nil, err
	}
	d := decoder{left: maxVisits}
	entries, err := d.services(doc)
	if err != nil {
		err.line += p.line
		return nil, err
	}
	return entries, nil
}

// readWhole reads a text that is a list, or has one below "services".
func readWhole(p part) ([]entry, *mistake) {
	doc, err := load(p)
	if err != nil {
		return nil, err
	}
	d := decoder{left: maxVisits}
	return d.document(doc)
}

// load reads YAML as a tree. What is empty is a mistake: an editor may be about
// to write.
func load(p part) (*yaml.Node, *mistake) {
	d := yaml.NewDecoder(strings.NewReader(p.text))
	doc := new(yaml.Node)
	if err := d.Decode(doc); err != nil {
		return nil, syntaxMistake(err, p)
	}
	second := new(yaml.Node)
	if err := d.Decode(second); err == nil {
		return nil, &mistake{line: second.Line + p.line, column: second.Column, reason: "a second document; want one"}
	}
	return doc.Content[0], nil
}

// checkIDs finds nodes of one service that have the same id.
func checkIDs(entries []entry) *mistake {
	type node struct{ service, id string }
	found := make(map[node]struct{}, len(entries))
	for _, e := range entries {
		for i, n := range e.service.Nodes {
			key := node{e.service.Name, n.ID}
			if _, ok := found[key]; ok {
				return e.place(i).mistake("service %q has another node with the id %q", e.service.Name, n.ID)
			}
			found[key] = struct{}{}
		}
	}
	return nil
}
