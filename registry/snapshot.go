package registry

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	snapshotFormat = "goapi services 1"
	// maxSnapshot bounds the file. That of 10,000 services, each with 3 nodes
	// and 10 endpoints that no other has, takes about 50 MB.
	maxSnapshot = 512 << 20
)

// A snapshot is a state on disk: lines of JSON, the first about the file, then
// endpoints, services, and notes, and the last a sum of those before it. A
// service refers to its endpoints, which come before it, by their numbers.
type snapshot struct {
	registry string    // the name of the source
	heard    time.Time // when it was last heard
	services []*Service
	notes    map[string]string
}

// The lines of a snapshot.
type (
	snapshotHead struct {
		Format   string    `json:"format"`
		Registry string    `json:"registry"`
		Heard    time.Time `json:"heard"`
	}
	snapshotLine struct {
		Endpoint  *Endpoint     `json:"endpoint,omitempty"`
		Service   *Service      `json:"service,omitempty"`
		Endpoints []int         `json:"endpoints,omitempty"`
		Note      *snapshotNote `json:"note,omitempty"`
	}
	snapshotNote struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	snapshotSum struct {
		Sum string `json:"sum"`
	}
)

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
	if len(data) > maxSnapshot {
		return nil, fmt.Errorf("it has more than %d bytes", maxSnapshot)
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

// decodeSnapshot reads a snapshot. What is not all there is an error.
func decodeSnapshot(data []byte) (*snapshot, error) {
	lines, err := checkSum(data)
	if err != nil {
		return nil, err
	}
	head, lines, _ := bytes.Cut(lines, []byte("\n"))
	var h snapshotHead
	if err := json.Unmarshal(head, &h); err != nil {
		return nil, err
	}
	if h.Format != snapshotFormat {
		return nil, fmt.Errorf("its format is %.40q, want %q", h.Format, snapshotFormat)
	}
	d := snapshotDecoder{snapshot: snapshot{registry: h.Registry, heard: h.Heard, notes: make(map[string]string)}}
	for n := 2; len(lines) > 0; n++ {
		var line []byte
		line, lines, _ = bytes.Cut(lines, []byte("\n"))
		if err := d.decode(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	d.services = byName(d.services) // what is no UTF-8 was written as something else
	return &d.snapshot, nil
}

// checkSum returns the lines before the last, which it stands for.
func checkSum(data []byte) ([]byte, error) {
	end := bytes.LastIndexByte(bytes.TrimSuffix(data, []byte("\n")), '\n') + 1
	var s snapshotSum
	if err := json.Unmarshal(data[end:], &s); err != nil {
		return nil, errors.New("its end is missing")
	}
	if sum := sha256.Sum256(data[:end]); s.Sum != hex.EncodeToString(sum[:]) {
		return nil, errors.New("its sum is wrong")
	}
	return data[:end], nil
}

// A snapshotDecoder reads the lines between the first and the last.
type snapshotDecoder struct {
	snapshot

	endpoints []*Endpoint
}

func (d *snapshotDecoder) decode(data []byte) error {
	var line snapshotLine
	if err := json.Unmarshal(data, &line); err != nil {
		return inField("", err)
	}
	switch {
	case line.Endpoint != nil:
		d.endpoints = append(d.endpoints, line.Endpoint)
	case line.Note != nil:
		d.notes[line.Note.Key] = line.Note.Value
	case line.Service != nil:
		return d.add(line.Service, line.Endpoints)
	default:
		return errors.New("it says nothing")
	}
	return nil
}

// add adds a service with the endpoints of the given numbers.
func (d *snapshotDecoder) add(s *Service, endpoints []int) error {
	if s.Name == "" {
		return errNoName()
	}
	if err := checkSize(len(endpoints), len(s.Nodes)); err != nil {
		return err
	}
	if len(s.Nodes) == 0 {
		return &FieldError{"nodes", "there is none"}
	}
	s.Endpoints = nil
	for _, i := range endpoints {
		if i < 0 || i >= len(d.endpoints) {
			return &FieldError{"endpoints", fmt.Sprintf("there is no %d", i)}
		}
		s.Endpoints = append(s.Endpoints, d.endpoints[i])
	}
	d.services = append(d.services, s)
	return nil
}

// write replaces the file at path. Whoever reads it has the old one or the new
// one, whole, whatever happens meanwhile.
func (snap *snapshot) write(path string) (err error) {
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
	err = snap.encode(f)
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

// syncDir has a renaming in a directory reach the disk.
func syncDir(dir string) error {
	f, err := os.Open(dir) //nolint:gosec // the path is the operator's
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// encode writes a snapshot.
func (snap *snapshot) encode(to io.Writer) error {
	e := newSnapshotEncoder(to)
	e.line(snapshotHead{snapshotFormat, snap.registry, snap.heard})
	for _, s := range snap.services {
		e.service(s)
	}
	for _, key := range slices.Sorted(maps.Keys(snap.notes)) {
		e.line(snapshotLine{Note: &snapshotNote{key, snap.notes[key]}})
	}
	return e.close()
}

// A snapshotEncoder writes lines until the first error.
type snapshotEncoder struct {
	buffer    *bufio.Writer
	sum       hash.Hash
	json      *json.Encoder
	size      int
	endpoints map[*Endpoint]int // numbers
	err       error
}

func newSnapshotEncoder(to io.Writer) *snapshotEncoder {
	e := &snapshotEncoder{buffer: bufio.NewWriterSize(to, 64<<10), sum: sha256.New(), endpoints: make(map[*Endpoint]int)}
	e.json = json.NewEncoder(e)
	e.json.SetEscapeHTML(false)
	return e
}

// Write takes a line of the encoder of JSON.
func (e *snapshotEncoder) Write(line []byte) (int, error) {
	e.size += len(line)
	if e.size > maxSnapshot {
		return 0, fmt.Errorf("it would have more than %d bytes", maxSnapshot)
	}
	_, _ = e.sum.Write(line) // never fails
	return e.buffer.Write(line)
}

func (e *snapshotEncoder) line(v any) {
	if e.err == nil {
		e.err = e.json.Encode(v)
	}
}

// service writes a service, after those of its endpoints that are new. One that
// could not be read back is no use to anybody.
func (e *snapshotEncoder) service(s *Service) {
	if s.Name == "" || len(s.Nodes) == 0 {
		return
	}
	numbers := make([]int, len(s.Endpoints))
	for i, endpoint := range s.Endpoints {
		n, known := e.endpoints[endpoint]
		if !known {
			n = len(e.endpoints)
			e.endpoints[endpoint] = n
			e.line(snapshotLine{Endpoint: endpoint})
		}
		numbers[i] = n
	}
	c := *s
	c.Endpoints = nil
	e.line(snapshotLine{Service: &c, Endpoints: numbers})
}

// close writes the sum, and returns the first error.
func (e *snapshotEncoder) close() error {
	e.line(snapshotSum{hex.EncodeToString(e.sum.Sum(nil))})
	if e.err != nil {
		return e.err
	}
	return e.buffer.Flush()
}
