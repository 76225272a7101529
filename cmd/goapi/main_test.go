package main

import (
	"errors"
	"strings"
	"testing"
)

func TestOneLine(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "it failed", "it failed"},
		{"two errors", "one\ntwo", "one; two"},
		{"what a service would write to a terminal", "\x1b[2Jgone\a", "?[2Jgone?"},
		{"long", strings.Repeat("x", 2000), strings.Repeat("x", 1000) + "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := oneLine(errors.New(tt.in)); got != tt.want {
				t.Errorf("oneLine(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}
