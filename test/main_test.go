package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the path of the command under test, and nodeBinary of what nodes
// run: this test binary.
var binary, nodeBinary string

// nodeEnv makes the test binary a node of a service instead; see node_test.go.
const nodeEnv = "GOAPI_TEST_NODE"

func TestMain(m *testing.M) {
	if address, ok := os.LookupEnv(nodeEnv); ok {
		if err := serveNode(address); err != nil {
			fmt.Fprintln(os.Stderr, "node:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(build(m))
}

// build builds the command and runs the tests.
func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "goapi-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "goapi")
	out, err := exec.Command("go", "build", "-o", binary, "../cmd/goapi").CombinedOutput()
	if err == nil {
		nodeBinary, err = os.Executable()
	}
	if err == nil && raced { // what nodes do is not what is tested, and there is little time for it
		nodeBinary = filepath.Join(dir, "node")
		out, err = exec.Command("go", "test", "-c", "-o", nodeBinary, ".").CombinedOutput()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
