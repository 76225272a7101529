package config_test

import (
	"testing"

	"github.com/goapi-dev/goapi/config"
)

func TestX(t *testing.T) {
	dir := exampleDir(t)
	f, err := config.Load(dir+"/goapi.yaml", noEnv)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(f)
}
