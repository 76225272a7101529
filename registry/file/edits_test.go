package file_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/file"
)

// serving returns a file with a service of each of these names, which have a
// node of that id.
func serving(names ...string) string {
	var b strings.Builder
	b.WriteString("services:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "  - name: %s\n    nodes: [{id: %s, address: \"127.0.0.1:1\"}]\n", name, name)
	}
	return b.String()
}

// TestEdits does to a file what editors and other programs do.
func TestEdits(t *testing.T) {
	rename := func(t *testing.T, from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		edit func(t *testing.T, path string)
	}{
		{"written in place", func(t *testing.T, path string) { save(t, path, serving("a", "c")) }},
		{"replaced", func(t *testing.T, path string) {
			save(t, path+".new", serving("a", "c"))
			rename(t, path+".new", path)
		}},
		{"put aside and written anew", func(t *testing.T, path string) {
			rename(t, path, path+"~")
			save(t, path, serving("a", "c"))
		}},
		{"removed and written anew", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			save(t, path, serving("a", "c"))
		}},
		{"of the same size and time", func(t *testing.T, path string) {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			save(t, path, serving("a", "c"))
			if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
		}},
		{"emptied, then written in two steps", func(t *testing.T, path string) {
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			_, first := f.WriteString(serving("a"))
			_, second := f.WriteString(strings.TrimPrefix(serving("c"), "services:\n"))
			if err := errors.Join(first, second); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "services.yaml")
			save(t, path, serving("a", "b"))
			said := make(lines, 16)
			r := open(t, path, &file.Options{Logger: slog.New(slog.NewTextHandler(said, nil))})
			w := watch(t, r)
			before := await(t, w, "a", "b")
			tt.edit(t, path)
			after := next(t, w)
			if got := nodes(after); !slices.Equal(got, []string{"a", "c"}) {
				t.Errorf("the first state after the edit has %q, want a and c", got)
			}
			if before[0] != after[0] {
				t.Error("a service that was not edited is another pointer, want the same")
			}
			if len(said) > 0 || len(r.LeftOut()) > 0 {
				t.Errorf("a good edit is reported: %v", r.LeftOut())
			}
		})
	}
}

// TestEditOfLinks changes what a link leads to: where it does, and on the way.
func TestEditOfLinks(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	link := func(to, name string) {
		t.Helper()
		if err := errors.Join(os.Symlink(to, name+".new"), os.Rename(name+".new", name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, version := range []string{"v1", "v2"} {
		if err := os.Mkdir(filepath.Join(elsewhere, version), 0o700); err != nil {
			t.Fatal(err)
		}
		save(t, filepath.Join(elsewhere, version, "services.yaml"), serving(version))
	}
	path := filepath.Join(dir, "services.yaml")
	link(filepath.Join(elsewhere, "v1"), filepath.Join(dir, "data"))
	link(filepath.Join("data", "services.yaml"), path)
	w := watch(t, open(t, path, nil))
	await(t, w, "v1")
	link(filepath.Join(elsewhere, "v2"), filepath.Join(dir, "data"))
	await(t, w, "v2")
	save(t, filepath.Join(elsewhere, "v2", "services.yaml"), serving("v2", "v3"))
	await(t, w, "v2", "v3")
	save(t, path, serving("v4")) // through both links
	await(t, w, "v4")
}

// TestEditOfDirectory replaces the directory of the file, which nobody tells
// who watches the directory: the file is looked at all the same.
func TestEditOfDirectory(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir, other := filepath.Join(root, "dir"), filepath.Join(root, "other")
	for _, d := range []string{dir, other} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		save(t, filepath.Join(d, "services.yaml"), serving(filepath.Base(d)))
	}
	w := watch(t, open(t, filepath.Join(dir, "services.yaml"), nil))
	await(t, w, "dir")
	if err := errors.Join(os.Rename(dir, dir+".old"), os.Rename(other, dir)); err != nil {
		t.Fatal(err)
	}
	await(t, w, "other")
	save(t, filepath.Join(dir, "services.yaml"), serving("third"))
	await(t, w, "third")
}

// TestBadEditChangesNothing: it is told of once, and is over with the next good
// one.
func TestBadEditChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.yaml")
	save(t, path, serving("a", "b"))
	said := make(lines, 16)
	r := open(t, path, &file.Options{Logger: slog.New(slog.NewTextHandler(said, nil))})
	w := watch(t, r)
	before := await(t, w, "a", "b")
	bad := []struct{ name, text, place, reason string }{
		{"an unknown key", serving("a") + "    namme: b\n", ":4:5", `unknown key "namme"; did you mean name?`},
		{"the same again, in another text", serving("a") + "    namme: c\n", ":4:5", `unknown key "namme"; did you mean name?`},
		{"nothing", "", ":1:1", "it is empty; write services: [] for none"},
		{"nothing but a comment", "# later\n", ":1:1", "it is empty; write services: [] for none"},
		{"one bad service of two", serving("a", "c") + "    version: [1]\n", ":6:14", "want a text, not a list or a mapping"},
	}
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) {
			save(t, path, tt.text)
			line := receive(t, said)
			if !strings.Contains(line, "level=WARN") || !strings.Contains(line, path+tt.place) || !strings.Contains(line, quoted(tt.reason)) {
				t.Errorf("the log says %q, want %s and %q", line, tt.place, tt.reason)
			}
			want := []registry.Omission{{Key: path + tt.place, Reason: tt.reason}}
			if got := r.LeftOut(); !slices.Equal(got, want) {
				t.Errorf("LeftOut() = %+v, want %+v", got, want)
			}
			if got, err := r.List(t.Context()); err != nil || !slices.Equal(got, before) {
				t.Errorf("List() = %v, %v, want what it was before", got, err)
			}
			if len(said) > 0 {
				t.Errorf("the log says %q, too", <-said)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next() after bad edits = %v, %v, want no state", got, err)
	}
	save(t, path, serving("a", "c"))
	after := await(t, w, "a", "c")
	if before[0] != after[0] {
		t.Error("a service that was not edited is another pointer, want the same")
	}
	if got := receive(t, said); !strings.Contains(got, "registry file is right again") {
		t.Errorf("the log says %q, want that the file is right again", got)
	}
	if got := r.LeftOut(); len(got) != 0 {
		t.Errorf("LeftOut() after a good edit = %+v, want none", got)
	}
}

// TestFileVanishes: the services stay, and the file may come back.
func TestFileVanishes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.yaml")
	save(t, path, serving("a"))
	said := make(lines, 16)
	r := open(t, path, &file.Options{Logger: slog.New(slog.NewTextHandler(said, nil))})
	w := watch(t, r)
	before := await(t, w, "a")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, said); !strings.Contains(got, "it is not there") {
		t.Errorf("the log says %q, want that the file is not there", got)
	}
	if got, err := r.List(t.Context()); err != nil || !slices.Equal(got, before) {
		t.Errorf("List() without the file = %v, %v, want what it was before", got, err)
	}
	if got, want := r.LeftOut(), []registry.Omission{{Key: path, Reason: "it is not there"}}; !slices.Equal(got, want) {
		t.Errorf("LeftOut() = %+v, want %+v", got, want)
	}
	save(t, path, serving("a"))
	if got := receive(t, said); !strings.Contains(got, "right again") {
		t.Errorf("the log says %q, want that the file is right again", got)
	}
	save(t, path, serving("b"))
	await(t, w, "b")
}

func TestOpenOfABadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.yaml")
	save(t, path, "services:\n  - name: a\n    nodes: [127.0.0.1]\n")
	r, err := file.Open(t.Context(), parse(t, "file:"+path), nil)
	if err == nil {
		r.Close()
	}
	if want := "registry: " + path + `:3:13: nodes[0].address: "127.0.0.1" is not host:port`; text(err) != want {
		t.Errorf("Open() error = %v, want %s", err, want)
	}
}

// TestFileIsTooLarge holds the bound.
func TestFileIsTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.yaml")
	save(t, path, serving("a"))
	r := open(t, path, nil)
	save(t, path+".new", serving("b")+"# "+strings.Repeat("x", 16<<20)) // beside: to write so much takes a while
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if got, err := r.List(t.Context()); err != nil || !slices.Equal(nodes(got), []string{"a"}) {
		t.Errorf("List() with a file that is too large = %q, %v, want a", nodes(got), err)
	}
	if got := r.LeftOut(); len(got) != 1 || got[0].Reason != "it has more than 16777216 bytes" {
		t.Errorf("LeftOut() = %+v, want that it is too large", got)
	}
}

// TestListIsAbandoned: a file that never comes to rest is waited for no longer
// than the caller does.
func TestListIsAbandoned(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.yaml")
	save(t, path, serving("a"))
	r := open(t, path, nil)
	done := make(chan struct{})
	stop := make(chan struct{})
	go func() { // ends with stop
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				_ = os.WriteFile(path, []byte(serving("a")+strings.Repeat("#", i%64)), 0o600)
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	begun := time.Now()
	for ctx.Err() == nil {
		_, _ = r.List(ctx)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("List() took %v, want no longer than its context", took)
	}
	close(stop)
	<-done
}

// lines is an io.Writer of lines that a test reads.
type lines chan string

var _ io.Writer = lines(nil)

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

func receive[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-bound(t, deadline).Done():
		t.Fatal("nothing happened in time")
	}
	return v
}

// quoted returns s as it stands within a quoted text.
func quoted(s string) string { return strings.Trim(fmt.Sprintf("%q", s), `"`) }
