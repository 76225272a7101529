package file

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/goapi-dev/goapi/registry"
)

const (
	keyServices = "services"
	// maxVisits bounds how many values a text, or a part of one, may have where
	// aliases count as what they stand for.
	maxVisits = 2_000_000
	// maxDepth bounds how deep values nest. go-micro announces three levels.
	maxDepth = 64
)

// An entry is a service of the file, and where it stands.
type entry struct {
	service *registry.Service
	line    int // how many lines are before the part that it was read from
	at      place
	nodes   []place
}

// key returns what no other entry of a file has: the ids of a service's nodes
// differ.
func (e *entry) key() string { return e.service.Name + "\x00" + e.service.Nodes[0].ID }

// place returns where a node stands.
func (e *entry) place(node int) place {
	p := e.nodes[node]
	p.line += e.line
	return p
}

// A decoder reads the tree of a text. Its methods return the first mistake.
type decoder struct {
	left int // how many values may still be looked at
}

// A reading reads one value.
type reading func(*yaml.Node) *mistake

// document reads a whole text.
func (d *decoder) document(n *yaml.Node) ([]entry, *mistake) {
	if n.Kind == yaml.SequenceNode {
		return d.services(n)
	}
	var entries []entry
	found := false
	err := d.mapping(n, "the file", map[string]reading{
		keyServices: func(n *yaml.Node) (err *mistake) {
			found = true
			entries, err = d.services(n)
			return err
		},
	})
	if err == nil && !found {
		err = placeOf(n).mistake("there are no services; write services: [] for none")
	}
	return entries, err
}

func (d *decoder) services(n *yaml.Node) ([]entry, *mistake) {
	var entries []entry
	if n.Kind != yaml.SequenceNode && n.Kind != yaml.AliasNode {
		return nil, placeOf(n).mistake("want a list of services; write services: [] for none")
	}
	err := d.list(n, func(n *yaml.Node) *mistake {
		e, err := d.service(n)
		entries = append(entries, e)
		return err
	})
	return entries, err
}

func (d *decoder) service(n *yaml.Node) (entry, *mistake) {
	s := new(registry.Service)
	e := entry{service: s, at: placeOf(n)}
	err := d.mapping(n, "a service", map[string]reading{
		"name":     d.text(&s.Name),
		"version":  d.text(&s.Version),
		"metadata": d.texts(func(m map[string]string) { s.Metadata = m }),
		"endpoints": func(n *yaml.Node) *mistake {
			return d.list(n, func(n *yaml.Node) *mistake {
				endpoint, err := d.endpoint(n)
				s.Endpoints = append(s.Endpoints, endpoint)
				return err
			})
		},
		"nodes": func(n *yaml.Node) *mistake {
			return d.list(n, func(n *yaml.Node) *mistake {
				node, err := d.node(n)
				s.Nodes = append(s.Nodes, node)
				e.nodes = append(e.nodes, placeOf(n))
				return err
			})
		},
	})
	if err != nil {
		return entry{}, err
	}
	for _, node := range s.Nodes {
		if node.ID == "" && node.Address != "" {
			node.ID = s.Name + "-" + node.Address
		}
	}
	if err := s.Validate(); err != nil {
		return entry{}, e.invalid(n, err)
	}
	return e, nil
}

// invalid returns what is wrong with a service, at the place in its tree.
func (e *entry) invalid(n *yaml.Node, err error) *mistake {
	field, ok := errors.AsType[*registry.FieldError](err)
	if !ok {
		return e.at.mistake("%s", err)
	}
	at := e.at
	var i int
	switch _, err := fmt.Sscanf(field.Field, "nodes[%d]", &i); {
	case err == nil && i < len(e.nodes):
		at = e.nodes[i]
	default:
		if within := value(n, field.Field); within != nil {
			at = placeOf(within)
		}
	}
	return at.mistake("%s: %s", field.Field, field.Reason)
}

// value returns what a mapping holds for a key; nil for nothing.
func value(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func (d *decoder) node(n *yaml.Node) (*registry.Node, *mistake) {
	node := new(registry.Node)
	if follow(n).Kind == yaml.ScalarNode {
		return node, d.text(&node.Address)(n)
	}
	return node, d.mapping(n, "a node", map[string]reading{
		"id":       d.text(&node.ID),
		"address":  d.text(&node.Address),
		"metadata": d.texts(func(m map[string]string) { node.Metadata = m }),
	})
}

func (d *decoder) endpoint(n *yaml.Node) (*registry.Endpoint, *mistake) {
	e := new(registry.Endpoint)
	words := make(map[string]string)
	set := func(key string, read func(*string) reading) reading {
		return func(n *yaml.Node) *mistake {
			var value string
			err := read(&value)(n)
			if value != "" {
				words[key] = value
			}
			return err
		}
	}
	err := d.mapping(n, "an endpoint", map[string]reading{
		"name":        d.text(&e.Name),
		"metadata":    d.texts(func(m map[string]string) { e.Metadata = m }),
		"request":     d.value(&e.Request, 1),
		"response":    d.value(&e.Response, 1),
		"description": set("description", d.text),
		"handler":     set("handler", d.text),
		"body":        set("body", d.text),
		"strip":       set("strip", d.text),
		"topic":       set("topic", d.text),
		"host":        set("host", d.joined),
		"method":      set("method", d.joined),
		"path":        set("path", d.joined),
		"stream":      set("stream", d.truth),
	})
	if err != nil {
		return nil, err
	}
	if e.Name == "" {
		return nil, placeOf(n).mistake("an endpoint needs a name")
	}
	for key := range words {
		if _, ok := e.Metadata[key]; ok {
			return nil, placeOf(n).mistake("the endpoint and its metadata both have %s; want one", key)
		}
	}
	if e.Metadata == nil && len(words) > 0 {
		e.Metadata = make(map[string]string, len(words))
	}
	maps.Copy(e.Metadata, words)
	return e, nil
}

// value reads what a message or one of its fields is.
func (d *decoder) value(to **registry.Value, depth int) reading {
	return func(n *yaml.Node) *mistake {
		if isNull(n) {
			return nil
		}
		if depth > maxDepth {
			return placeOf(n).mistake("values nest deeper than %d", maxDepth)
		}
		v := new(registry.Value)
		*to = v
		return d.mapping(n, "a value", map[string]reading{
			"name": d.text(&v.Name),
			"type": d.text(&v.Type),
			"values": func(n *yaml.Node) *mistake {
				return d.list(n, func(n *yaml.Node) *mistake {
					var within *registry.Value
					err := d.value(&within, depth+1)(n)
					if within != nil {
						v.Values = append(v.Values, within)
					}
					return err
				})
			},
		})
	}
}

// mapping reads a mapping whose keys are known. What is null is absent.
func (d *decoder) mapping(n *yaml.Node, what string, known map[string]reading) *mistake {
	n = follow(n)
	if n.Kind != yaml.MappingNode {
		return placeOf(n).mistake("%s is a mapping; want key: value", what)
	}
	return d.pairs(n, func(key, value *yaml.Node) *mistake {
		read := known[key.Value]
		if read == nil {
			return placeOf(key).mistake("%s", unknownKey(key.Value, slices.Collect(maps.Keys(known))))
		}
		return read(value)
	})
}

// pairs calls f with each key and value of a mapping. No key is there twice.
func (d *decoder) pairs(n *yaml.Node, f func(key, value *yaml.Node) *mistake) *mistake {
	if err := d.visit(n); err != nil {
		return err
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			return placeOf(key).mistake("a key is a text")
		}
		if seen[key.Value] {
			return placeOf(key).mistake("the key %.80q is there twice", key.Value)
		}
		seen[key.Value] = true
		if err := f(key, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// list calls f with each element of a list.
func (d *decoder) list(n *yaml.Node, f reading) *mistake {
	if isNull(n) {
		return nil
	}
	n = follow(n)
	if n.Kind != yaml.SequenceNode {
		return placeOf(n).mistake("want a list")
	}
	if err := d.visit(n); err != nil {
		return err
	}
	for _, element := range n.Content {
		if err := f(element); err != nil {
			return err
		}
	}
	return nil
}

// text reads a scalar as it is written: a version 1.10 stays that.
func (d *decoder) text(to *string) reading {
	return func(n *yaml.Node) *mistake {
		if err := d.visit(n); err != nil || isNull(n) {
			return err
		}
		n = follow(n)
		switch tag := n.ShortTag(); {
		case n.Kind != yaml.ScalarNode:
			return placeOf(n).mistake("want a text, not a list or a mapping")
		case !slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp"}, tag):
			return placeOf(n).mistake("the tag %.80q means nothing here", tag)
		}
		*to = n.Value
		return nil
	}
}

// texts reads a mapping of texts.
func (d *decoder) texts(set func(map[string]string)) reading {
	return func(n *yaml.Node) *mistake {
		if isNull(n) {
			return nil
		}
		n = follow(n)
		if n.Kind != yaml.MappingNode {
			return placeOf(n).mistake("want key: value")
		}
		m := make(map[string]string, len(n.Content)/2)
		set(m)
		return d.pairs(n, func(key, value *yaml.Node) *mistake {
			var s string
			err := d.text(&s)(value)
			m[key.Value] = s
			return err
		})
	}
}

// joined reads a text, or a list of them, as metadata has a list: with commas
// between. An expression from "^" to "$" may hold some itself.
func (d *decoder) joined(to *string) reading {
	return func(n *yaml.Node) *mistake {
		var all []string
		element := func(n *yaml.Node) *mistake {
			var s string
			if err := d.text(&s)(n); err != nil {
				return err
			}
			expression := strings.HasPrefix(s, "^") && strings.HasSuffix(s, "$") && !strings.Contains(strings.ReplaceAll(s, " ", ""), ",/")
			switch {
			case strings.TrimSpace(s) == "":
				return placeOf(n).mistake("it is empty")
			case strings.Contains(s, ",") && !expression:
				return placeOf(n).mistake("%.80q holds a comma; write a list", s)
			}
			all = append(all, s)
			return nil
		}
		read := element
		if isNull(n) || follow(n).Kind == yaml.SequenceNode {
			read = func(n *yaml.Node) *mistake { return d.list(n, element) }
		}
		err := read(n)
		*to = strings.Join(all, ",")
		return err
	}
}

// truth reads true as a text, and false as none.
func (d *decoder) truth(to *string) reading {
	return func(n *yaml.Node) *mistake {
		var s string
		if err := d.text(&s)(n); err != nil {
			return err
		}
		switch s {
		case "true":
			*to = s
		case "false", "":
		default:
			return placeOf(n).mistake("%.80q is neither true nor false", s)
		}
		return nil
	}
}

// visit counts the values that were looked at. Aliases may make few be many.
func (d *decoder) visit(n *yaml.Node) *mistake {
	if d.left--; d.left < 0 {
		return placeOf(n).mistake("there are more than %d values, aliases included", maxVisits)
	}
	return nil
}

// follow returns what an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	n = follow(n)
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}
