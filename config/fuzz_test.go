package config_test

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/config"
)

// FuzzParse checks that a text is either read or wrong, in lines that say where;
// that it is read the same twice; and that what was read is written in a way that
// the schema takes, and that is read as the same again.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	mistakes, err := os.ReadFile("testdata/mistakes.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range strings.Split(string(mistakes), "=== ")[1:] {
		_, text, _ := strings.Cut(c, "\n")
		text, _, _ = strings.Cut(text, "--- \n")
		f.Add(text)
	}
	for section := range strings.SplitSeq(string(example), "\n\n") {
		f.Add(section)
	}
	dir := f.TempDir()
	inputs(f, dir)
	schema := compileSchema(f)
	name := dir + "/goapi.yaml"
	f.Fuzz(func(t *testing.T, text string) {
		file, err := config.Parse(name, []byte(text), noEnv)
		if (file == nil) == (err == nil) {
			t.Fatalf("Parse = %v, %v: want one", file, err)
		}
		again, errAgain := config.Parse(name, []byte(text), noEnv)
		if err != nil {
			checkError(t, err)
			if errAgain == nil || errAgain.Error() != err.Error() {
				t.Fatalf("Parse error = %v, and then %v", err, errAgain)
			}
			return
		}
		if !reflect.DeepEqual(file, again) {
			t.Fatalf("Parse = %v, and then %v", file, again)
		}
		written := file.String()
		if err := schema.Validate(document(t, written)); err != nil {
			t.Fatalf("Parse = %s, which the schema refuses: %v", written, err)
		}
		if strings.Contains(written, "(hidden)") {
			return // a secret is not written
		}
		reread, err := config.Parse(name, []byte(written), noEnv)
		if err != nil {
			t.Fatalf("Parse = %s, which is wrong: %v", written, err)
		}
		if reread.String() != written {
			t.Fatalf("Parse = %s, which is read as %s", written, reread)
		}
		if len(reread.Fixed(file)) > 0 {
			t.Fatalf("%v differ in %s and %s", reread.Fixed(file), file, reread)
		}
		for _, s := range file.Services() {
			if err := s.Validate(); err != nil {
				t.Fatalf("the service %v of a route is none: %v", s, err)
			}
		}
	})
}

// checkError checks that each mistake is one line that says where.
func checkError(t *testing.T, err error) {
	t.Helper()
	wrong, ok := errors.AsType[*config.Error](err)
	if !ok || len(wrong.Mistakes) == 0 {
		t.Fatalf("Parse error = %#v, want an *Error with mistakes", err)
	}
	for _, m := range wrong.Mistakes {
		line := m.String()
		if strings.ContainsAny(line, "\n\r") || m.Reason == "" || m.Line < 1 && !strings.Contains(m.Reason, "more than 1MiB") || m.Column < 1 && m.Line > 0 {
			t.Fatalf("mistake %+v is not one line that says where", m)
		}
	}
}
