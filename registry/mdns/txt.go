package mdns

import (
	"bytes"
	"compress/zlib"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// maxText bounds the JSON of a TXT record.
	maxText = 1 << 20
	// maxString is how long a string of a TXT record is.
	maxString = 255
)

// errForeign is for a TXT record that somebody else has written, for another
// purpose.
var errForeign = errors.New("registry: the TXT record is not that of a service")

// text is what the TXT record of a node says: the fields of go-micro, and after
// them those that only we write, where they are needed.
type text struct {
	Service   string
	Version   string
	Endpoints []*registry.Endpoint
	Metadata  map[string]string // of the node

	// ServiceMetadata is the metadata of the service.
	ServiceMetadata map[string]string `json:",omitempty"`
	// ID is the id of the node, where its DNS name does not say it.
	ID string `json:",omitempty"`
	// Address is the address of the node, where the address record does not
	// say it.
	Address string `json:",omitempty"`
}

// A deflater writes TXT records. It keeps what is large. The zero value is ready
// for use.
type deflater struct {
	z *zlib.Writer
}

// encode returns the strings of a TXT record: JSON, compressed, in hexadecimal.
func (d *deflater) encode(t *text) ([]string, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("registry: service %q: %w", t.Service, err)
	}
	if len(data) > maxText {
		return nil, fmt.Errorf("%w: service %q: %d bytes of JSON; mDNS takes %d", registry.ErrTooLarge, t.Service, len(data), maxText)
	}
	var buf bytes.Buffer
	if d.z == nil {
		d.z = zlib.NewWriter(&buf)
	} else {
		d.z.Reset(&buf)
	}
	if _, err := d.z.Write(data); err != nil {
		return nil, err
	}
	if err := d.z.Close(); err != nil {
		return nil, err
	}
	var list []string
	for part := range slices.Chunk([]byte(hex.EncodeToString(buf.Bytes())), maxString) {
		list = append(list, string(part))
	}
	return list, nil
}

// An inflater reads TXT records. It keeps what is large. The zero value is ready
// for use.
type inflater struct {
	z io.ReadCloser
}

// decode reads the strings of a TXT record. It returns errForeign for those
// that are nobody's announcement of a service, and how many bytes of JSON it
// has read.
func (i *inflater) decode(list []string) (*text, int, error) {
	packed, err := hex.DecodeString(strings.Join(list, ""))
	if err != nil || len(packed) == 0 {
		return nil, 0, errForeign
	}
	data, err := i.inflate(packed)
	if err != nil {
		return nil, len(data), err
	}
	t := new(text)
	if err := json.Unmarshal(data, t); err != nil {
		if field, ok := errors.AsType[*registry.FieldError](err); ok {
			return nil, len(data), &registry.FieldError{Field: "endpoints." + field.Field, Reason: field.Reason}
		}
		return nil, len(data), errors.New("the TXT record does not hold the JSON of a service")
	}
	t.Endpoints = slices.DeleteFunc(t.Endpoints, func(e *registry.Endpoint) bool { return e == nil })
	return t, len(data), nil
}

// inflate returns at most maxText bytes.
func (i *inflater) inflate(packed []byte) ([]byte, error) {
	var err error
	if z, ok := i.z.(zlib.Resetter); ok {
		err = z.Reset(bytes.NewReader(packed), nil)
	} else {
		i.z, err = zlib.NewReader(bytes.NewReader(packed))
	}
	if err != nil {
		return nil, errForeign
	}
	data, err := io.ReadAll(io.LimitReader(i.z, maxText+1))
	switch {
	case len(data) > maxText:
		return data, fmt.Errorf("the TXT record holds more than %d bytes of JSON", maxText)
	case err != nil:
		return data, errors.New("the TXT record is cut off")
	}
	return data, nil
}
