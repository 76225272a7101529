package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/push"
)

func TestPrintDeadLetter(t *testing.T) {
	tests := []struct {
		cut        string
		want, none []string
	}{
		{"", []string{"SIZE", "70000", "POSITION", "17", `"topic":"orders"`}, []string{"CUT"}},
		{"header", []string{"CUT", "header is left out", "cannot be replayed", "70000"}, []string{"body is left out"}},
		{"body", []string{"CUT", "header and body are left out", "cannot be replayed", "70000"}, nil},
		{"\x1b[2J", []string{"?[2J is left out"}, []string{"\x1b"}},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		if err := printDeadLetter(&out, &push.DeadLetter{ID: "1", Topic: "orders", MessageID: "m", Position: "17", Size: 70000, Cut: tt.cut}); err != nil {
			t.Error(err)
		}
		for _, want := range tt.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("cut %q: printed %s, want something of %q", tt.cut, &out, want)
			}
		}
		for _, none := range tt.none {
			if strings.Contains(out.String(), none) {
				t.Errorf("cut %q: printed %s, want nothing of %q", tt.cut, &out, none)
			}
		}
	}
}

// TestReplayAll: all that are listed are replayed with one request, and what
// stays is said.
func TestReplayAll(t *testing.T) {
	tests := []struct {
		name, listed, told string
		args               []string
		asked, out, err    string
		code               int
	}{
		{"all", `{"id":"1"},{"id":"2"}`, `{"id":"1"}{"id":"2"}`, []string{"--all"}, `{"ids":["1","2"]}`, "1 replayed\n2 replayed\n", "", 0},
		{
			"one stays", `{"id":"1"},{"id":"2"}`, `{"id":"1","error":{"id":"goapi","code":502,"detail":"refused"}}{"id":"2"}`, []string{"--all"},
			`{"ids":["1","2"]}`, "2 replayed\n", "1 of 2 dead letters stay", 1,
		},
		{"named, one twice", "", `{"id":"1"}{"id":"2"}`, []string{"1", "2", "1"}, `{"ids":["1","2","1"]}`, "1 replayed\n2 replayed\n", "", 0},
		{"broken off", "", `{"id":"1"}`, []string{"1", "2"}, `{"ids":["1","2"]}`, "1 replayed\n", "broke off before the last 1 of 2", 1},
		{"none is listed", "", "", []string{"--all"}, "", "", "", 0},
		{"none is named", "", "", nil, "", "", "name the dead letters to replay, or give --all", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var asked strings.Builder
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					fmt.Fprintf(w, `{"dead_letters":[%s]}`, tt.listed)
					return
				}
				_, _ = io.Copy(&asked, r.Body)
				_, _ = io.WriteString(w, tt.told)
			}))
			defer srv.Close()
			var out, errs bytes.Buffer
			w := world{strings.NewReader(""), &out, &errs, func(string) (string, bool) { return "", false }}
			code := run(t.Context(), append([]string{"dlq", "replay", "--admin", srv.URL}, tt.args...), w)
			if code != tt.code || asked.String() != tt.asked || out.String() != tt.out || !strings.Contains(errs.String(), tt.err) {
				t.Errorf("asked %s, printed %q and %q, status %d; want %s, %q, %q and %d", &asked, &out, &errs, code, tt.asked, tt.out, tt.err, tt.code)
			}
		})
	}
}
