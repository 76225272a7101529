package handler

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/upstream"
)

// TestAnswerThatComesTooLate has an answer come as the try is given up: the
// client must get an error then, and nothing of that answer.
func TestAnswerThatComesTooLate(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.DeadlineExceeded)
	w := httptest.NewRecorder()
	w.Header().Set("X-Outer", "1")
	f := &forwarding{w: w, ex: &goapi.Exchange{Route: &goapi.Route{Service: "test"}}}
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Set-Cookie": {"a=b"}}, Body: http.NoBody}
	if err := f.answer(ctx, new(upstream.Try), resp); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("answer error = %v, want why the try was given up", err)
	}
	if got := w.Header(); len(got) != 1 || w.Flushed {
		t.Errorf("header = %v, want what was there before", got)
	}
}
