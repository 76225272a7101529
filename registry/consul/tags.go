package consul

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi/registry"
)

// The tags of go-micro, by what they begin with. After that comes JSON, or a
// version, compressed and in hexadecimal. Its old versions wrote "=" instead of
// "-", and then the text itself.
const (
	tagMetadata = 't' // {"key":"value"}, one for each pair of a node
	tagEndpoint = 'e' // an endpoint
	tagVersion  = 'v' // the version, which is no JSON

	// tagMore is ours, for what go-micro's tags have no place for. go-micro
	// passes it over.
	tagMore = 'g'
)

const (
	// maxText bounds what a tag holds, and maxTexts what the tags of a node do.
	maxText  = 1 << 20
	maxTexts = 8 << 20
	// maxTags bounds the tags of a node.
	maxTags = 10_000
)

// zlibHead is what compressed texts begin with, in hexadecimal.
const zlibHead = "78"

var errInflated = fmt.Errorf("it holds more than %d bytes", maxText)

// more is what a tagMore says of a node.
type more struct {
	// Name and ID are those of the service and of the node, where Consul has
	// others.
	Name string `json:"name,omitempty"`
	ID   string `json:"id,omitempty"`
	// Metadata is that of the service.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// A tag is what one tag says. It is shared: read-only.
type tag struct {
	kind     byte // 0 for a tag that is nobody's announcement
	weak     bool // it may be somebody else's by chance
	metadata map[string]string
	endpoint *registry.Endpoint
	version  string
	more     *more
	size     int // of the text
	err      error
}

// encodeTags returns the tags that announce a node.
func encodeTags(s *registry.Service, n *registry.Node, m more) ([]string, error) {
	var p packer
	for _, key := range slices.Sorted(maps.Keys(n.Metadata)) {
		p.addJSON(tagMetadata, map[string]string{key: n.Metadata[key]})
	}
	for _, e := range s.Endpoints {
		p.addJSON(tagEndpoint, e)
	}
	p.add(tagVersion, []byte(s.Version))
	if m.Name != "" || m.ID != "" || len(m.Metadata) > 0 {
		p.addJSON(tagMore, m)
	}
	if p.err == nil && len(p.tags) > maxTags {
		p.err = fmt.Errorf("%w: it takes %d tags, more than %d", registry.ErrTooLarge, len(p.tags), maxTags)
	}
	if p.err == nil && p.size > maxTexts {
		p.err = fmt.Errorf("%w: its tags hold %d bytes, more than %d", registry.ErrTooLarge, p.size, maxTexts)
	}
	return p.tags, p.err
}

// A packer makes tags. The zero value is ready for use.
type packer struct {
	tags []string
	size int // of the texts
	err  error

	z   *zlib.Writer
	buf bytes.Buffer
}

func (p *packer) addJSON(kind byte, v any) {
	data, err := json.Marshal(v)
	if err != nil && p.err == nil {
		p.err = err
	}
	p.add(kind, data)
}

// add adds a tag. The stream is ended: go-micro reads no other.
func (p *packer) add(kind byte, text []byte) {
	if p.err != nil {
		return
	}
	if p.size += len(text); len(text) > maxText {
		p.err = fmt.Errorf("%w: a tag takes %d bytes, more than %d", registry.ErrTooLarge, len(text), maxText)
		return
	}
	p.buf.Reset()
	if p.z == nil {
		p.z = zlib.NewWriter(&p.buf)
	} else {
		p.z.Reset(&p.buf)
	}
	if _, p.err = p.z.Write(text); p.err != nil { // a buffer takes everything
		return
	}
	if p.err = p.z.Close(); p.err != nil {
		return
	}
	p.tags = append(p.tags, string(kind)+"-"+hex.EncodeToString(p.buf.Bytes()))
}

// decodeTag reads a tag.
func decodeTag(s string) *tag {
	t := new(tag)
	if len(s) < 2 || !slices.Contains([]byte{tagMetadata, tagEndpoint, tagVersion, tagMore}, s[0]) {
		return t
	}
	var text []byte
	switch kind, rest := s[0], s[2:]; {
	case s[1] == '-' && strings.HasPrefix(rest, zlibHead):
		packed, err := hex.DecodeString(rest)
		if err != nil {
			return t // somebody's word, as "t-78-inch"
		}
		t.kind = kind
		text, t.err = inflate(packed)
	case s[1] == '=' && kind != tagMore:
		t.kind, t.weak = kind, kind == tagVersion
		text = []byte(rest)
		if len(text) > maxText {
			t.err = errInflated
		}
	default:
		return t
	}
	if t.size = len(text); t.err == nil {
		t.err = t.read(text)
	}
	return t
}

// read reads the text of a tag.
func (t *tag) read(text []byte) error {
	var err error
	switch t.kind {
	case tagMetadata:
		err = json.Unmarshal(text, &t.metadata)
	case tagEndpoint:
		err = json.Unmarshal(text, &t.endpoint)
	case tagMore:
		err = json.Unmarshal(text, &t.more)
	case tagVersion:
		t.version = string(text)
	}
	if _, ok := errors.AsType[*registry.FieldError](err); err != nil && !ok {
		return errors.New("it does not hold the JSON that it should")
	}
	return err
}

// inflate returns what was compressed, at most maxText bytes.
func inflate(packed []byte) ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, errors.New("it is not compressed as go-micro does")
	}
	text, err := io.ReadAll(io.LimitReader(z, maxText+1))
	switch {
	case len(text) > maxText:
		return nil, errInflated
	case errors.Is(err, io.ErrUnexpectedEOF) && bytes.HasSuffix(packed, []byte{0, 0, 0xff, 0xff}):
		return text, nil // flushed and not ended: nothing is missing
	case err != nil:
		return nil, errors.New("what is compressed is cut off or broken")
	}
	return text, nil
}

// tags reads tags, and holds what equal ones say once. The zero value is ready
// for use.
type tags struct {
	held map[digest]*heldTag
}

// A digest stands for a text: whoever registers services could make a weaker
// hash collide.
type digest [sha256.Size]byte

// heldTag is a tag and how often it is there.
type heldTag struct {
	*tag

	uses int
}

// hold returns what a tag says, and counts a use of it.
func (h *tags) hold(s string) (digest, *tag) {
	key := digest(sha256.Sum256([]byte(s)))
	t := h.held[key]
	if t == nil {
		t = &heldTag{tag: decodeTag(s)}
		if h.held == nil {
			h.held = make(map[digest]*heldTag)
		}
		h.held[key] = t
	}
	t.uses++
	return key, t.tag
}

// release is the end of one use of each tag.
func (h *tags) release(keys []digest) {
	for _, key := range keys {
		t := h.held[key]
		if t.uses--; t.uses == 0 {
			delete(h.held, key)
		}
	}
}
