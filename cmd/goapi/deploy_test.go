package main

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/goapi-dev/goapi/config"
)

// TestDeployNamesFlagsThatThereAre: files that start the gateway, and the documents
// about it, keep up with its flags.
func TestDeployNamesFlagsThatThereAre(t *testing.T) {
	known := map[string]bool{"help": true}
	root := newRoot(world{env: noEnvironment})
	for _, cmd := range root.Commands() {
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
	}
	for _, other := range []string{"rm", "build-arg", "tags", "always", "from-file", "now", "chown"} { // of docker, git, kubectl and systemctl
		known[other] = true
	}
	flag := regexp.MustCompile(`(?:^|[\s\x60("'])--([a-z][a-z-]+)`)
	tree := os.DirFS("../..")
	for _, dir := range []string{"deploy", "docs", "README.md"} {
		err := fs.WalkDir(tree, dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path.Dir(name) == "docs/decisions" {
				return err
			}
			text, err := fs.ReadFile(tree, name)
			if err != nil {
				return err
			}
			for _, m := range flag.FindAllStringSubmatch(string(text), -1) {
				if !known[m[1]] {
					t.Errorf("%s names --%s, which goapi does not have", name, m[1])
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestConfigurationsOfDocuments: what documents and manifests show as a
// configuration is one.
func TestConfigurationsOfDocuments(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(readme), "```yaml\n")
	text, _, closed := strings.Cut(after, "```")
	if !ok || !closed {
		t.Fatal("README.md shows no configuration")
	}
	cert, key := writeCertificate(t)
	text = strings.NewReplacer("api.pem", cert, "api.key", key).Replace(text)
	if _, err := config.Parse("README.md", []byte(text), noEnvironment); err != nil {
		t.Errorf("the configuration of README.md: %v", err)
	}
}

// TestKubernetesManifest: its documents are YAML, and the configuration in it is
// one.
func TestKubernetesManifest(t *testing.T) {
	manifest, err := os.Open("../../deploy/kubernetes/goapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer manifest.Close()
	kinds := map[string]int{}
	decoder := yaml.NewDecoder(manifest)
	for {
		var doc struct {
			Kind string
			Data map[string]string
		}
		if err := decoder.Decode(&doc); err != nil {
			if err.Error() == "EOF" {
				break
			}
			t.Fatal(err)
		}
		kinds[doc.Kind]++
		text := strings.ReplaceAll(doc.Data["goapi.yaml"], "/run/secrets/goapi/token", "deploy_test.go") // any file that is there
		if _, err := config.Parse("goapi.yaml", []byte(text), noEnvironment); err != nil {
			t.Errorf("the configuration of the manifest: %v", err)
		}
	}
	for _, kind := range []string{"ConfigMap", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"} {
		if kinds[kind] != 1 {
			t.Errorf("the manifest has %d of %s, want 1", kinds[kind], kind)
		}
	}
}
