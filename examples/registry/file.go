package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// maxFile bounds a file, in bytes: others may write in the directory, too.
const maxFile = 1 << 20

// A file is what a file holds: a service with one node, and until when. One
// that has expired is left where it is, since it may be renewed just now.
type file struct {
	Expires time.Time        `json:"expires,omitzero"` // zero for never
	Service registry.Service `json:"service"`
}

// fileName returns the file of a node. A hash is short and harmless, whatever
// the names are: "../x", or "A" beside "a".
func fileName(service, node string) string {
	return fmt.Sprintf("%x.json", sha256.Sum256([]byte(service+"\x00"+node)))
}

// write replaces a file. Nobody ever reads half of one.
func write(root *os.Root, name string, data []byte) error {
	temp := rand.Text() + ".tmp"
	err := root.WriteFile(temp, data, 0o644)
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		_ = root.Remove(temp) // the error says more
	}
	return err
}

// load reads a file, which anybody may have written. What could not be
// registered is an error.
func load(root *os.Root, name string) (*file, error) {
	r, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f := new(file)
	if err := json.NewDecoder(io.LimitReader(r, maxFile)).Decode(f); err != nil {
		return nil, err
	}
	return f, f.Service.Validate()
}
