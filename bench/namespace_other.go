//go:build !linux

package main

import (
	"context"
	"errors"
)

// inNamespace would run this program in a network of its own.
func inNamespace(context.Context, ...string) ([]byte, error) {
	return nil, &missingError{"it needs a network namespace: run it on Linux"}
}

func loopback() error { return errors.ErrUnsupported }
