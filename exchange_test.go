package goapi_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
)

// TestExchangeKnowsTheAnswer: its status and bytes, in whatever way it is
// written.
func TestExchangeKnowsTheAnswer(t *testing.T) {
	tests := []struct {
		name    string
		answer  func(w http.ResponseWriter, r *http.Request)
		status  int
		written int64
	}{
		{"nothing yet", func(http.ResponseWriter, *http.Request) {}, 0, 0},
		{"only a status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, 204, 0},
		{"an interim answer", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints) }, 0, 0},
		{"another protocol", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusSwitchingProtocols) }, 101, 0},
		{"bytes", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "abc")
			_, _ = io.WriteString(w, "de")
		}, 200, 5},
		{"copied bytes", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, strings.NewReader("abcd")) }, 200, 4},
		{"flushed", func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() }, 200, 0},
		{"the first status counts", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, "a")
		}, 201, 1},
		{"an error", func(w http.ResponseWriter, r *http.Request) {
			goapi.WriteError(w, r, goapi.NewError(http.StatusTeapot, "no coffee", errors.New("tea")))
		}, 418, 71},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, r, ex := goapi.NewExchange(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			tt.answer(w, r)
			if ex.Status != tt.status || ex.Written != tt.written {
				t.Errorf("Status, Written = %d, %d, want %d, %d", ex.Status, ex.Written, tt.status, tt.written)
			}
			if ex.Began.IsZero() || time.Since(ex.Began) > time.Minute {
				t.Errorf("Began = %s, want now", ex.Began)
			}
		})
	}
}

// TestUnder: a route under another policy has a ring of its own, and the rest
// in common.
func TestUnder(t *testing.T) {
	rt, policy := route("rpc"), &goapi.Policy{Timeout: time.Second}
	under := rt.Under(policy)
	if under.Policy != policy || under.Service != rt.Service || under.Endpoint != rt.Endpoint || rt.Policy != nil {
		t.Errorf("Under = %+v of %+v", under, rt)
	}
}
