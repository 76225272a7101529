package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestFollowEvents(t *testing.T) {
	b := &sseBench{clients: 3, events: 5, every: time.Millisecond}
	service := httptest.NewServer(http.HandlerFunc(b.serve))
	defer service.Close()
	took, err := b.follow(t.Context(), service.URL)
	if err != nil || len(took) != 15 {
		t.Fatalf("follow = %d events, %v, want 15", len(took), err)
	}
	if most := quantile(took, 1); most <= 0 || most > time.Minute {
		t.Errorf("an event took %v", most)
	}
}

func TestFollowEventsThatDoNotCome(t *testing.T) {
	b := &sseBench{clients: 1, events: 5, every: time.Millisecond}
	for _, body := range []string{"", "data: 1\n\n", "data: soon\n\n"} {
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
		if _, err := b.follow(t.Context(), service.URL); err == nil {
			t.Errorf("follow of %q: no error", body)
		}
		service.Close()
	}
}
