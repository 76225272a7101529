package registry

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

const (
	// snapshotFormat is how a snapshot starts. Its last byte tells editors and
	// terminals that the rest is no text.
	snapshotFormat = "goapi services 1\n\x00"
	// maxSnapshot bounds the file, in bytes. That of 10,000 services, each with
	// 3 nodes and 10 endpoints that no other has, takes about 15 MB.
	maxSnapshot = 512 << 20
)

// A snapshot is a state on disk: its format, what it is of, the services, the
// notes, and a sum of all that.
type snapshot struct {
	registry string    // the name of the source
	heard    time.Time // when that was last heard
	services []*Service
	notes    map[string]string
}

// readSnapshot reads a file, which is to be of the named registry.
func readSnapshot(path, registry string) (*snapshot, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSnapshot+1))
	if err != nil {
		return nil, err
	}
	snap, err := decodeSnapshot(data)
	if err != nil {
		return nil, err
	}
	if snap.registry != registry {
		return nil, fmt.Errorf("it is of another registry: %.200q", snap.registry)
	}
	return snap, nil
}

// write replaces the file at path. Whoever reads it has the old one or the new
// one, whole, whatever happens meanwhile. It calls rest now and then.
func (snap *snapshot) write(path string, rest func()) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp := path + ".new" // always the same: a process that is killed leaves one at most
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the path is the operator's
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp) // the error says more
		}
	}()
	err = snap.encode(f, rest)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir has a renaming in a directory reach the disk, where a directory can be
// told to.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir) //nolint:gosec // the path is the operator's
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// restEvery is after how many services whoever writes a snapshot may rest.
const restEvery = 64

// encode writes a snapshot, and calls rest now and then.
func (snap *snapshot) encode(to io.Writer, rest func()) error {
	e := &snapshotEncoder{to: bufio.NewWriterSize(to, 64<<10), sum: sha256.New(), endpoints: make(map[*Endpoint]uint64)}
	b := appendString([]byte(snapshotFormat), snap.registry)
	b = binary.AppendVarint(b, unixNano(snap.heard))
	e.b = appendMap(b, snap.notes)
	for i, s := range snap.services {
		e.service(s)
		if i%restEvery == restEvery-1 {
			rest()
		}
	}
	e.flush()
	e.b = e.sum.Sum(e.b)
	e.flush()
	return errors.Join(e.err, e.to.Flush())
}

// A snapshotEncoder writes services until the first error.
type snapshotEncoder struct {
	to        *bufio.Writer
	sum       hash.Hash
	size      int
	endpoints map[*Endpoint]uint64 // numbers of those that are written
	b         []byte               // to be written
	err       error
}

// service writes a service. One that could not be read back is no use.
func (e *snapshotEncoder) service(s *Service) {
	if s.Name == "" || len(s.Nodes) == 0 {
		return
	}
	b := appendString(e.b, s.Name)
	b = appendString(b, s.Version)
	b = appendMap(b, s.Metadata)
	b = binary.AppendUvarint(b, uint64(len(s.Endpoints)))
	for _, endpoint := range s.Endpoints {
		n, known := e.endpoints[endpoint]
		if !known {
			n = uint64(len(e.endpoints))
			e.endpoints[endpoint] = n
		}
		b = binary.AppendUvarint(b, n)
		if !known {
			b = appendEndpoint(b, endpoint)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.Nodes)))
	for _, n := range s.Nodes {
		b = appendString(b, n.ID)
		b = appendString(b, n.Address)
		b = appendMap(b, n.Metadata)
	}
	e.b = b
	e.flush()
}

// flush writes what is to be written.
func (e *snapshotEncoder) flush() {
	e.size += len(e.b)
	if e.size > maxSnapshot && e.err == nil {
		e.err = fmt.Errorf("the state takes more than %d bytes", maxSnapshot)
	}
	if e.err == nil {
		_, _ = e.sum.Write(e.b) // never fails
		_, e.err = e.to.Write(e.b)
	}
	e.b = e.b[:0]
}

// decodeSnapshot reads a snapshot. One that is not all there, and as it was
// written, is an error.
func decodeSnapshot(data []byte) (*snapshot, error) {
	rest, ok := bytes.CutPrefix(data, []byte(snapshotFormat))
	if !ok {
		return nil, fmt.Errorf("it does not start with %q", snapshotFormat)
	}
	end := len(rest) - sha256.Size
	if end < 0 || sha256.Sum256(data[:len(data)-sha256.Size]) != digest(rest[end:]) {
		return nil, errors.New("its sum is wrong: it was not written to its end, or changed")
	}
	d := &snapshotDecoder{b: rest[:end], words: make(map[string]string)}
	snap := &snapshot{registry: d.text(), heard: fromUnixNano(d.varint()), notes: d.metadata()}
	for len(d.b) > 0 {
		snap.services = append(snap.services, d.service())
	}
	if d.err != nil {
		return nil, d.err
	}
	snap.services = byName(snap.services)
	return snap, nil
}

// errSnapshot is the error of what has a right sum, and was written by another.
var errSnapshot = errors.New("it holds what is no service")

// A snapshotDecoder reads until the first error. From then on nothing is left
// to read.
type snapshotDecoder struct {
	b         []byte
	endpoints []*Endpoint
	words     map[string]string // those that services have in common
	err       error
}

func (d *snapshotDecoder) fail() { d.b, d.err = nil, errSnapshot }

func (d *snapshotDecoder) service() *Service {
	s := &Service{Name: d.text(), Version: d.text(), Metadata: d.metadata()}
	s.Endpoints = readAll(d, d.endpoint)
	s.Nodes = readAll(d, func() *Node { return &Node{ID: d.text(), Address: d.text(), Metadata: d.metadata()} })
	if s.Name == "" || len(s.Nodes) == 0 {
		d.fail()
	}
	return s
}

// endpoint reads the number of an endpoint, and the endpoint if it is new.
func (d *snapshotDecoder) endpoint() *Endpoint {
	n := d.uvarint()
	switch known := uint64(len(d.endpoints)); {
	case n < known:
		return d.endpoints[n]
	case n > known:
		d.fail()
	}
	e := &Endpoint{Name: d.text(), Request: d.value(1), Response: d.value(1), Metadata: d.metadata()}
	d.endpoints = append(d.endpoints, e)
	return e
}

func (d *snapshotDecoder) value(depth int) *Value {
	if d.uvarint() == 0 {
		return nil
	}
	if depth > maxDepth {
		d.fail()
		return nil
	}
	v := &Value{Name: d.word(), Type: d.word()}
	v.Values = withoutNil(readAll(d, func() *Value { return d.value(depth + 1) }))
	return v
}

func (d *snapshotDecoder) metadata() map[string]string {
	n := d.count()
	if n == 0 {
		return nil
	}
	m := make(map[string]string, min(n, 64))
	for ; n > 0 && d.err == nil; n-- {
		k := d.word()
		m[k] = d.text()
	}
	return m
}

// readAll reads a list.
func readAll[T any](d *snapshotDecoder, read func() T) []T {
	var list []T
	for n := d.count(); n > 0 && d.err == nil; n-- {
		list = append(list, read())
	}
	return list
}

// count reads how many there are of something that takes a byte at least.
func (d *snapshotDecoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n) //nolint:gosec // it is not more than a length
}

func (d *snapshotDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *snapshotDecoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *snapshotDecoder) bytes() []byte {
	n := d.count()
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *snapshotDecoder) text() string { return string(d.bytes()) }

// word reads a text that is likely to be there more than once.
func (d *snapshotDecoder) word() string {
	b := d.bytes()
	w, known := d.words[string(b)]
	if !known {
		w = string(b)
		d.words[w] = w
	}
	return w
}

// unixNano returns 0 for a time that is zero.
func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromUnixNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}
