package main

import (
	"strings"
	"testing"
	"time"
)

// said is what wrk prints.
const said = `Running 3s test @ http://127.0.0.1:8080/1k
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   604.72us  226.73us   5.04ms   84.95%
    Req/Sec    53.46k     2.21k   57.04k    70.97%
  164857 requests in 3.10s, 196.52MB read
Requests/sec:  53179.26
Transfer/sec:     63.39MB
`

func TestParseWrk(t *testing.T) {
	got, err := parseWrk(said)
	if err != nil {
		t.Fatal(err)
	}
	if want := (load{requests: 164857, took: 3100 * time.Millisecond}); got != want {
		t.Errorf("parseWrk = %+v, want %+v", got, want)
	}
}

func TestParseWrkRefuses(t *testing.T) {
	tests := []struct{ name, said, want string }{
		{"nothing", "", "no sum"},
		{"errors", said + "  Non-2xx or 3xx responses: 12\n", "responses: 12"},
		{"lost connections", "  Socket errors: connect 0, read 3, write 0, timeout 0\n" + said, "read 3"},
		{"silence", "  0 requests in 3.00s, 0.00B read\n", "no request"},
		{"too much", "  99999999999999999999 requests in 3.00s, 0.00B read\n", "out of range"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseWrk(tt.said)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("parseWrk(%q) = %+v, %v, want an error with %q", tt.said, got, err, tt.want)
			}
		})
	}
}
