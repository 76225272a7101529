package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"
)

const (
	// quiet is how long a file is the same before it is read: editors and
	// programs write in steps.
	quiet = 3 * time.Millisecond
	// patience bounds the wait for that.
	patience = 2 * time.Second
	// maxSize bounds the file, in bytes.
	maxSize = 16 << 20
)

// A snapshot is the file as it was last looked at.
type snapshot struct {
	info    fs.FileInfo // nil when the file was missing
	read    bool        // the rest is about text; else about the file as such
	text    string
	problem *mistake // nil when nothing is wrong
	parser  parser
}

// same says whether two looks saw the same file.
func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// look reads the file if it is another than it was, or if told to: clocks are
// too coarse to tell all edits apart. What is wrong with the file is no error.
func (r *Registry) look(ctx context.Context, anyway bool) error {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
	case <-r.life.Done():
	}
	if err := r.usable(ctx); err != nil {
		return err
	}
	first := r.seen.info == nil && r.seen.problem == nil
	info, err := stat(r.path)
	if err == nil && same(info, r.seen.info) && !first && (!anyway || r.unchanged(info)) {
		return nil
	}
	if !first || info != nil && time.Since(info.ModTime()) < quiet {
		info, err = r.settle(ctx, info)
		if usable := r.usable(ctx); usable != nil {
			return usable
		}
	}
	r.read(info, err)
	return nil
}

// unchanged says whether the file holds what it did.
func (r *Registry) unchanged(info fs.FileInfo) bool {
	if info == nil || !r.seen.read {
		return info == nil
	}
	text, err := readAll(r.path, info)
	return err == nil && text == r.seen.text
}

// stat returns what the path leads to; nil when that is nothing.
func stat(path string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // to be absent is a state of a file
	}
	return info, reason(err)
}

// settle waits until the file stays the same.
func (r *Registry) settle(ctx context.Context, info fs.FileInfo) (fs.FileInfo, error) {
	begun := time.Now()
	changed := begun
	ticker := time.NewTicker(quiet / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
		case <-r.life.Done():
		}
		next, err := stat(r.path)
		now := time.Now()
		if !same(next, info) {
			info, changed = next, now
		}
		if err != nil || now.Sub(changed) >= quiet || now.Sub(begun) > patience || r.usable(ctx) != nil {
			return info, err
		}
	}
}

// read reads the file that info and err tell of, and takes what it says. A file
// that changes meanwhile is read again.
func (r *Registry) read(info fs.FileInfo, err error) {
	var text string
	for range 10 {
		if err == nil {
			text, err = readAll(r.path, info)
		}
		if err != nil {
			r.see(snapshot{info: info, problem: &mistake{reason: err.Error()}})
			return
		}
		now, changed := stat(r.path)
		if changed == nil && same(now, info) {
			break
		}
		info, err = now, changed
	}
	if r.seen.read && r.seen.text == text {
		r.seen.info = info
		return
	}
	entries, problem := r.seen.parser.parse(text)
	r.see(snapshot{info: info, read: true, text: text, problem: problem})
	if problem == nil {
		r.take(entries)
	}
}

// see notes what the file is, and says what is wrong with it, once for each
// edit.
func (r *Registry) see(now snapshot) {
	old := r.seen
	now.parser = old.parser
	r.seen = now
	switch {
	case now.problem == nil && old.problem == nil:
	case now.problem == nil:
		r.log.Info("registry file is right again")
	case old.problem == nil || *old.problem != *now.problem || old.text != now.text:
		now.problem.file = r.name
		r.refuse(now.problem)
		r.log.Warn("registry file is wrong: the services stay as they were",
			slog.String("place", now.problem.place()), slog.String("reason", now.problem.reason))
	}
}

// readAll returns what a file holds.
func readAll(path string, info fs.FileInfo) (string, error) {
	if info == nil {
		return "", errors.New("it is not there")
	}
	if !info.Mode().IsRegular() { // opening it might never end
		return "", errors.New("it is no regular file")
	}
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return "", reason(err)
	}
	defer f.Close() // only read
	var text strings.Builder
	text.Grow(int(min(info.Size(), maxSize)) + 1)
	n, err := io.Copy(&text, io.LimitReader(f, maxSize+1))
	if err != nil {
		return "", reason(err)
	}
	if n > maxSize {
		return "", fmt.Errorf("it has more than %d bytes", maxSize)
	}
	return text.String(), nil
}

// reason returns what the system says of a file, less the path, which the place
// names.
func reason(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
