package registry

import "unicode/utf8"

// readRecord reads a record in the form that go-micro and this package write:
// without white space and escapes, and with names as they are. It says what
// readService and readNode say, in a fraction of the time, and returns false for
// any other form. The endpoints are left to be read.
func (k *known) readRecord(data []byte) (rec *plainRecord, ok bool) {
	c := &plain{text: data, known: k}
	rec = c.record()
	return rec, !c.failed && c.at == len(c.text)
}

// readEndpoint does the same for an endpoint: it says what the function
// readEndpoint says.
func (k *known) readEndpoint(data []byte) (e *Endpoint, ok bool) {
	c := &plain{text: data, known: k}
	e = c.endpoint()
	return e, !c.failed && c.at == len(c.text)
}

// A plain is a place in a text, and whether the text before it could be read.
type plain struct {
	text   []byte
	known  *known
	at     int
	failed bool
	values []*Value // of the lists that are being read
}

// A plainRecord is a record whose endpoints are still JSON; nil for none.
type plainRecord struct {
	name, version string
	metadata      map[string]string
	endpoints     []byte
	nodes         []*Node
}

func (c *plain) record() *plainRecord {
	rec := new(plainRecord)
	c.take("{")
	for first := true; c.more(first, "}"); first = false {
		switch c.key() {
		case "name":
			rec.name = c.string()
		case "version":
			rec.version = c.string()
		case "metadata":
			c.want(rec.metadata == nil)
			rec.metadata = c.strings()
		case "endpoints":
			c.want(rec.endpoints == nil)
			rec.endpoints = c.brackets()
		case "nodes":
			c.want(rec.nodes == nil)
			rec.nodes = c.nodes()
		default:
			c.failed = true
		}
	}
	return rec
}

// brackets takes a list as it is, or null.
func (c *plain) brackets() []byte {
	if c.is("null") {
		return nil
	}
	from := c.at
	c.want(!c.failed && from < len(c.text) && c.text[from] == '[')
	if c.failed {
		return nil
	}
	end := bracketed(c.text, from)
	c.want(end > 0)
	c.at = max(end, from)
	return c.text[from:c.at]
}

// nodes reads a list of nodes, none of which is null, or null.
func (c *plain) nodes() []*Node {
	if c.is("null") {
		return nil
	}
	list := []*Node{}
	c.take("[")
	for first := true; c.more(first, "]"); first = false {
		list = append(list, c.node())
	}
	return list
}

func (c *plain) node() *Node {
	n := new(Node)
	c.take("{")
	for first := true; c.more(first, "}"); first = false {
		switch c.key() {
		case "id":
			n.ID = c.string()
		case "address":
			n.Address = c.string()
		case "metadata":
			c.want(n.Metadata == nil)
			n.Metadata = again(c, &c.known.metadata, c.strings)
		default:
			c.failed = true
		}
	}
	return n
}

func (c *plain) endpoint() *Endpoint {
	e := new(Endpoint)
	c.take("{")
	for first := true; c.more(first, "}"); first = false {
		switch c.key() {
		case "name":
			e.Name = c.string()
		case "request":
			c.want(e.Request == nil)
			e.Request = c.message()
		case "response":
			c.want(e.Response == nil)
			e.Response = c.message()
		case "metadata":
			c.want(e.Metadata == nil)
			e.Metadata = c.strings()
		default:
			c.failed = true
		}
	}
	return e
}

// message reads the value of a request or a response, or null.
func (c *plain) message() *Value {
	return again(c, &c.known.messages, func() *Value { return c.value(1) })
}

// value reads a value, or null, at a depth.
func (c *plain) value(depth int) *Value {
	if c.is("null") {
		return nil
	}
	v := new(Value)
	c.want(depth <= maxDepth)
	c.take("{")
	for first := true; c.more(first, "}"); first = false {
		switch c.key() {
		case "name":
			v.Name = c.string()
		case "type":
			v.Type = c.string()
		case "values":
			c.want(v.Values == nil)
			v.Values = c.list(depth + 1)
		default:
			c.failed = true
		}
	}
	return v
}

// list reads a list of values, none of which is null, or null.
func (c *plain) list(depth int) []*Value {
	if c.is("null") {
		return nil
	}
	from := len(c.values)
	c.take("[")
	for first := true; c.more(first, "]"); first = false {
		v := c.value(depth)
		c.want(v != nil)
		c.values = append(c.values, v)
	}
	list := append([]*Value{}, c.values[from:]...)
	c.values = c.values[:from]
	return list
}

// strings reads an object of strings, or null.
func (c *plain) strings() map[string]string {
	if c.is("null") {
		return nil
	}
	m := make(map[string]string)
	c.take("{")
	for first := true; c.more(first, "}"); first = false {
		key := c.key()
		m[key] = c.string()
	}
	return m
}

// key reads the name of a member.
func (c *plain) key() string {
	s := c.string()
	c.take(":")
	return s
}

func (c *plain) string() string {
	c.take(`"`)
	from := c.at
	for ; c.at < len(c.text); c.at++ {
		switch b := c.text[c.at]; {
		case b == '"':
			s := c.text[from:c.at]
			c.at++
			c.want(utf8.Valid(s))
			return c.known.word(s)
		case b == '\\' || b < ' ':
			c.failed = true
			return ""
		}
	}
	c.failed = true
	return ""
}

// more says whether a list or an object goes on, and takes what separates its
// members or ends it.
func (c *plain) more(first bool, end string) bool {
	if c.failed || c.is(end) {
		return false
	}
	if !first {
		c.take(",")
	}
	return !c.failed
}

// is takes a piece of text if it is what there is.
func (c *plain) is(piece string) bool {
	if rest := c.text[c.at:]; len(rest) < len(piece) || string(rest[:len(piece)]) != piece {
		return false
	}
	c.at += len(piece)
	return true
}

func (c *plain) take(piece string) { c.want(c.is(piece)) }

// want fails unless something is so.
func (c *plain) want(so bool) { c.failed = c.failed || !so }
