package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/goapi-dev/goapi/config"
)

// TestSettings reads each configuration as the gateway does.
func TestSettings(t *testing.T) {
	for _, s := range settings(true) {
		l := &lab{dir: t.TempDir()}
		file, err := l.file("goapi.yaml", strings.ReplaceAll(s.yaml, "$collector", "http://127.0.0.1:4318"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(file, func(string) (string, bool) { return "", false }); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
	if got := len(settings(false)); got != 2 {
		t.Errorf("%d settings are measured, want all off and all on", got)
	}
}

func TestScript(t *testing.T) {
	lua, err := script()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(lua, "Bearer "); got != callers {
		t.Errorf("the script has %d tokens, want %d", got, callers)
	}
	token, err := newToken(7)
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	if _, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return []byte(signing), nil }); err != nil || claims["sub"] != "caller-7" {
		t.Errorf("token = %v, %v", claims, err)
	}
}

func TestEdgeTable(t *testing.T) {
	of := func(name string, cpu ...float64) *bench {
		return &bench{peer: peer{name: name}, results: map[string]*series{edgeWorkload: {cpu: cpu, rate: []float64{1000, 3000, 2000}}}}
	}
	var out bytes.Buffer
	(&edgeBench{rounds: 3, connections: 8, duration: 2e9}).print(&out, []*bench{of("all off", 20, 30, 50), of("all on", 28, 41, 57)})
	for _, want := range []string{
		"3 rounds of 2s, 8 connections, tokens of 100 callers",
		"\n| all off | 30.0 | 20.0–50.0 | 0.0 | 0.0–0.0 |  | 2000 |",
		"\n| all on | 41.0 | 28.0–57.0 | 8.0 | 7.0–11.0 | 12 | 2000 |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("print = %s\nwant %q in it", out.String(), want)
		}
	}
}

func TestDifferences(t *testing.T) {
	if got, want := differences([]float64{1, 4, 9}, []float64{2, 2, 3}), []float64{-1, 2, 6}; !slices.Equal(got, want) {
		t.Errorf("differences = %v, want %v", got, want)
	}
}
