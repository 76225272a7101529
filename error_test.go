package goapi_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestStatus(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want int
	}{
		{"no route", goapi.ErrNoRoute, 404},
		{"no route, wrapped", fmt.Errorf("router: %w", goapi.ErrNoRoute), 404},
		{"no nodes", fmt.Errorf("greeter: %w", upstream.ErrNoNodes), 503},
		{"node away", &upstream.NodeError{Service: "greeter", Err: errors.New("refused")}, 502},
		{"node broke off", &upstream.NodeError{Service: "greeter", Sent: true, Err: errors.New("reset")}, 502},
		{"overloaded", fmt.Errorf("x: %w", upstream.ErrOverloaded), 503},
		{"node silent", &upstream.NodeError{Service: "greeter", Timeout: true, Err: errors.New("late")}, 504},
		{"no service", registry.ErrNotFound, 404},
		{"body too large", &http.MaxBytesError{Limit: 10}, 413},
		{"deadline", context.DeadlineExceeded, 504},
		{"client gone", context.Canceled, 499},
		{"registry away", fmt.Errorf("nats: %w", registry.ErrUnavailable), 503},
		{"registry closed", registry.ErrClosed, 503},
		{"record too large", registry.ErrTooLarge, 413},
		{"bad field", &registry.FieldError{Field: "name", Reason: "is missing"}, 400},
		{"its own", goapi.NewError(418, "short and stout", nil), 418},
		{"its own, wrapped", fmt.Errorf("x: %w", goapi.NewError(418, "short and stout", nil)), 418},
		{"a code that is no error", &goapi.Error{Code: 200}, 500},
		{"a code that is no status", &goapi.Error{Code: 5000}, 500},
		{"anything else", errors.New("disk on fire"), 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := goapi.Status(tt.err); got != tt.want {
				t.Errorf("Status(%v) = %d, want %d", tt.err, got, tt.want)
			}
		})
	}
}

// A client that reads that it went away is there.
func TestWriteErrorOfNoClient(t *testing.T) {
	gone, leave := context.WithCancel(t.Context())
	leave()
	service := &goapi.Error{Code: goapi.StatusClientClosedRequest, ID: "greeter", Detail: "a word of its own"}
	for _, tt := range []struct {
		name string
		ctx  context.Context
		err  error
		want int
	}{
		{"is there", t.Context(), context.Canceled, http.StatusBadGateway},
		{"is there, of a handler", t.Context(), goapi.NewError(goapi.StatusClientClosedRequest, "the client went away", nil), http.StatusBadGateway},
		{"is gone", gone, context.Canceled, goapi.StatusClientClosedRequest},
		{"hears the service", t.Context(), service, goapi.StatusClientClosedRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			goapi.WriteError(w, httptest.NewRequest("GET", "/", nil).WithContext(tt.ctx), tt.err)
			if w.Code != tt.want {
				t.Errorf("status = %d %s, want %d", w.Code, w.Body, tt.want)
			}
		})
	}
}

func TestWriteError(t *testing.T) {
	secret := errors.New("dial tcp 10.1.2.3:9: refused")
	tests := []struct {
		name string
		err  error
	}{
		{"service", &goapi.Error{Code: 400, ID: "greeter.fail", Detail: `bad "name"`, Cause: secret}},
		{"gateway", goapi.NewError(502, "service greeter could not be reached", secret)},
		{"defect", secret},
		{"no-nodes", fmt.Errorf("%w: %w", upstream.ErrNoNodes, secret)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			goapi.WriteError(w, httptest.NewRequest("GET", "/", nil), tt.err)
			if got := w.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type = %q, want application/json", got)
			}
			if strings.Contains(w.Body.String(), "10.1.2.3") {
				t.Errorf("body = %s: shows the cause", w.Body)
			}
			golden(t, filepath.Join("testdata", "errors", tt.name+".json"), w.Body.Bytes())
		})
	}
}

func TestWriteErrorHeader(t *testing.T) {
	w := httptest.NewRecorder()
	goapi.WriteError(w, httptest.NewRequest("PUT", "/", nil),
		&goapi.Error{Code: 405, Header: http.Header{"Allow": {"GET, POST"}}})
	if got, want := w.Header().Get("Allow"), "GET, POST"; got != want {
		t.Errorf("Allow = %q, want %q", got, want)
	}
	if w.Code != 405 {
		t.Errorf("status = %d, want 405", w.Code)
	}
}

func TestErrorTextNamesTheCause(t *testing.T) {
	err := goapi.NewError(502, "service greeter could not be reached", errors.New("refused"))
	if got, want := err.Error(), "goapi: 502 service greeter could not be reached: refused"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

// golden compares got with a file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s = %s, want %s", name, got, want)
	}
}
