package config_test

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/config"
)

// TestReference holds the tables of docs/configuration.md against the types.
func TestReference(t *testing.T) {
	const name = "../docs/configuration.md"
	doc, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]reflect.Type{}
	eachKey(reflect.TypeFor[config.File](), func(owner reflect.Type, _ string) { types[owner.Name()] = owner })
	table := regexp.MustCompile(`(?s)<!-- keys: (\w+) -->\n.*?<!-- end -->`)
	got := table.ReplaceAllFunc(doc, func(old []byte) []byte {
		owner := string(table.FindSubmatch(old)[1])
		if types[owner] == nil {
			t.Errorf("there is no type %s", owner)
			return old
		}
		defer delete(types, owner)
		return []byte("<!-- keys: " + owner + " -->\n" + keyTable(types[owner]) + "<!-- end -->")
	})
	delete(types, "Headers") // whose keys are both a HeaderEdit
	for owner := range types {
		t.Errorf("%s has no table of %s", name, owner)
	}
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(got, doc) {
		t.Errorf("%s is not as the types are: run with -update", name)
	}
}

// keyTable returns the keys of a type as a table.
func keyTable(t reflect.Type) string {
	var b strings.Builder
	b.WriteString("| key | what it says | default | example |\n|---|---|---|---|\n")
	for f := range t.Fields() {
		key := f.Tag.Get("yaml")
		if key == "" || key == ",inline" {
			continue
		}
		doc := f.Tag.Get("doc")
		if enum := f.Tag.Get("enum"); enum != "" && len(enum) < 200 {
			doc += " One of `" + strings.ReplaceAll(enum, "|", "`, `") + "`."
		}
		switch least, most := f.Tag.Get("min"), f.Tag.Get("max"); {
		case least != "" && most != "":
			doc += fmt.Sprintf(" From %s to %s.", least, most)
		case least != "" && least != "1":
			doc += fmt.Sprintf(" At least %s.", least)
		}
		fallback := f.Tag.Get("default")
		if f.Tag.Get("required") == "true" {
			fallback = "**needed**"
		}
		if f.Tag.Get("reload") == "true" {
			doc += " **Reloaded.**"
		}
		example := f.Tag.Get("example")
		if example != "" {
			example = "`" + key + ": " + strings.ReplaceAll(example, "|", `\|`) + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", key, strings.ReplaceAll(doc, "|", `\|`), fallback, example)
	}
	return b.String()
}

// TestReferenceExamples: the examples of the keys, and the first of the document,
// are right.
func TestReferenceExamples(t *testing.T) {
	dir := t.TempDir()
	inputs(t, dir)
	for _, name := range []string{"clients.pem", "issuer.pem"} {
		cert, _ := certificate(t)
		write(t, dir, name, cert)
	}
	env := environment(map[string]string{"EAB_KEY": "k", "JWT_SECRET": strings.Repeat("s", 40), "OTLP_TOKEN": "t"})
	form := regexp.MustCompile(`: (unknown key|want |"[^\n]*": want|it is no YAML)`)
	eachTag(reflect.TypeFor[config.File](), func(path func(string) string, f reflect.StructField) {
		example := f.Tag.Get("example")
		if example == "" {
			return
		}
		text := path(f.Tag.Get("yaml") + ": " + example)
		// What is missing beside it may be wrong; the example itself is not.
		if _, err := config.Parse(dir+"/goapi.yaml", []byte(text), env); err != nil && form.MatchString(err.Error()) {
			t.Errorf("the example of %s is wrong: %s\n%v", f.Tag.Get("yaml"), text, err)
		}
	})
	doc, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, first, _ := strings.Cut(string(doc), "```yaml\n")
	first, _, _ = strings.Cut(first, "```")
	if _, err := config.Parse(dir+"/goapi.yaml", []byte(first), env); err != nil {
		t.Errorf("the first example of the document: %v", err)
	}
}

// eachTag calls f with each field of a type and of those within, and with a
// function that puts a line of YAML where the field is.
func eachTag(t reflect.Type, f func(path func(string) string, field reflect.StructField)) {
	seen := map[reflect.Type]bool{}
	var walk func(t reflect.Type, path func(string) string)
	walk = func(t reflect.Type, path func(string) string) {
		switch t.Kind() {
		case reflect.Pointer:
			walk(t.Elem(), path)
			return
		case reflect.Slice:
			walk(t.Elem(), func(s string) string { return path("[{" + s + "}]") })
			return
		case reflect.Map:
			walk(t.Elem(), func(s string) string { return path("{x: {" + s + "}}") })
			return
		case reflect.Struct:
		default:
			return
		}
		if seen[t] {
			return
		}
		seen[t] = true
		for field := range t.Fields() {
			key := field.Tag.Get("yaml")
			switch {
			case key == ",inline":
				walk(field.Type, path)
			case key != "":
				f(path, field)
				walk(field.Type, func(s string) string {
					if !strings.HasPrefix(s, "[") && !strings.HasPrefix(s, "{") {
						s = "{" + s + "}"
					}
					return path(key + ": " + s)
				})
			}
		}
	}
	walk(t, func(s string) string { return s })
}
