package config_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/config"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestMistakes holds what is said of mistakes against testdata/mistakes.txt: a
// text between "=== " and "---", and then each line of the error, or "right". What
// follows "=== " is whether the schema refuses it, too.
func TestMistakes(t *testing.T) {
	const golden = "testdata/mistakes.txt"
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	inputs(t, dir)
	schema := compileSchema(t)
	env := environment(map[string]string{"BAD": "x\xff", "N": "5", "TOKEN": "hunter2"})
	form := regexp.MustCompile(`^goapi\.yaml:[1-9]\d*:[1-9]\d*: [^\n]{5,600}$`)
	var got bytes.Buffer
	for _, c := range strings.Split(string(want), "=== ")[1:] {
		_, text, _ := strings.Cut(c, "\n")
		text, _, _ = strings.Cut(text, "\n--- \n")
		text = strings.TrimSuffix(text, "\n") + "\n"
		f, err := config.Parse(dir+"/goapi.yaml", []byte(text), env)
		said := "right"
		if err != nil {
			said = strings.ReplaceAll(err.Error(), dir+"/", "")
		}
		if (f == nil) == (err == nil) {
			t.Fatalf("Parse(%q) = %v, %v: want one", text, f, err)
		}
		for line := range strings.SplitSeq(said, "\n") {
			if err != nil && !form.MatchString(line) || strings.Contains(line, "hunter2") {
				t.Errorf("Parse(%q) error has the line %q: want FILE:LINE:COLUMN: REASON, without secrets", text, line)
			}
		}
		judged := "schema accepts"
		if refuses(t, schema, text) {
			judged = "schema refuses"
			if err == nil {
				t.Errorf("Parse(%q) is right, and the schema refuses it: %v", text, schema.Validate(document(t, text)))
			}
		}
		got.WriteString("=== " + judged + "\n" + text + "--- \n" + said + "\n")
	}
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got.String() != string(want) {
		t.Errorf("mistakes are not as in %s: run with -update, and look at the difference", golden)
	}
}

func TestMistakeOrder(t *testing.T) {
	_, err := config.Parse("goapi.yaml", []byte("zzz: 1\nadmin: x\npolicy: {timeout: 1}\n"), noEnv)
	wrong, ok := errors.AsType[*config.Error](err)
	if !ok {
		t.Fatalf("Parse error = %v, want an *Error", err)
	}
	if len(wrong.Mistakes) != 3 {
		t.Fatalf("Parse found %d mistakes, want 3: %v", len(wrong.Mistakes), err)
	}
	for i, key := range []string{"zzz", "admin", "policy.timeout"} {
		m := wrong.Mistakes[i]
		if m.Key != key || m.Line != i+1 || m.File != "goapi.yaml" || m.Reason == "" {
			t.Errorf("mistake %d = %+v, want one of %s on line %d", i, m, key, i+1)
		}
	}
}

// TestManyMistakes: the error of a file that is wrong everywhere has an end.
func TestManyMistakes(t *testing.T) {
	_, err := config.Parse("goapi.yaml", []byte("metadata:\n"+strings.Repeat("  - x\n", 5000)), noEnv)
	if err == nil {
		t.Fatal("Parse error = nil, want 5000 mistakes")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 101 || lines[100] != "goapi.yaml: 4900 more mistakes are not listed" {
		t.Errorf("the error has %d lines, of which the last is %q; want 100, and how many more there are", len(lines), lines[len(lines)-1])
	}
}
