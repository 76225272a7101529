package files_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi/internal/files"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, path string) string {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("x"), 0o600))
	return path
}

// told waits until something is told, refreshes, and drops what else is told of
// the same.
func told(t *testing.T, w *files.Watcher, paths ...string) {
	t.Helper()
	select {
	case <-w.Events():
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is told")
	}
	for {
		select {
		case <-w.Events():
		case <-time.After(20 * time.Millisecond):
			w.Refresh(paths...)
			return
		}
	}
}

// TestWatch changes a file that is reached by a link, over and over: each change is
// told of, also in directories that have taken the place of others.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	one, two := write(t, filepath.Join(dir, "one", "file")), write(t, filepath.Join(dir, "two", "file"))
	must(t, os.Mkdir(filepath.Join(dir, "links"), 0o700))
	link := filepath.Join(dir, "links", "file")
	must(t, os.Symlink(one, link))
	w, err := files.Watch(link)
	must(t, err)
	defer w.Close()

	write(t, one)
	told(t, w, link)
	must(t, os.Symlink(two, link+".new"), os.Rename(link+".new", link))
	told(t, w, link)
	write(t, two)
	told(t, w, link)
	must(t, os.RemoveAll(filepath.Dir(two)))
	told(t, w, link)
	write(t, two)
	must(t, os.Rename(write(t, link+".new"), link)) // no link any more
	told(t, w, link)
	write(t, link)
	told(t, w, link)

	write(t, one)
	select {
	case e := <-w.Events():
		t.Errorf("%v is told, which is about a file that is not watched", e)
	case <-time.After(50 * time.Millisecond):
	}
	w.Refresh(one)
	write(t, one)
	told(t, w, one)
}

func TestWatchOfWhatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "later", "file")
	w, err := files.Watch(path)
	must(t, err)
	defer w.Close()
	write(t, path)
	w.Refresh(path)
	write(t, path)
	told(t, w, path)
}

func TestNil(t *testing.T) {
	var w *files.Watcher
	w.Refresh("x")
	if w.Events() != nil || w.Lost() != nil {
		t.Error("a nil Watcher tells something")
	}
	w.Close()
}
