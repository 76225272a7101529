package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// maxFile bounds the file and what it names, in bytes.
const maxFile = 1 << 20

// A digest is what a file holds, as far as it matters whether that changes; zero
// for a file that cannot be read.
type digest [sha256.Size]byte

// inputs are the files that a configuration is made of, by their paths.
type inputs map[string]digest

// read returns what a file holds, and notes the file.
func (in inputs) read(path string) ([]byte, error) {
	b, err := readFile(path)
	if err != nil {
		in[path] = digest{}
		return nil, err
	}
	in[path] = sha256.Sum256(b)
	return b, nil
}

// secret returns the first line of a file.
func (in inputs) secret(path string) (string, error) {
	b, err := in.read(path)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", errors.New("its first line is empty")
	}
	return line, nil
}

// readFile returns what a file holds. The error does not name the file.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("it is not there")
	case err != nil:
		return nil, cause(err)
	case info.IsDir():
		return nil, errors.New("it is a directory")
	case !info.Mode().IsRegular(): // opening it might never end
		return nil, errors.New("it is no regular file")
	}
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, cause(err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("it has more than %s", Size(maxFile))
	}
	return b, nil
}

// cause returns what the system says of a file, less the path.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
