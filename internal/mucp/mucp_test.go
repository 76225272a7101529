package mucp_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi/internal/mucp"
)

func TestGet(t *testing.T) {
	tests := []struct {
		name   string
		header http.Header
		want   string
	}{
		{"current", http.Header{"Micro-Id": {"1"}}, "1"},
		{"old", http.Header{"X-Micro-Id": {"2"}}, "2"},
		{"both", http.Header{"Micro-Id": {"1"}, "X-Micro-Id": {"2"}}, "1"},
		{"current empty", http.Header{"Micro-Id": {""}, "X-Micro-Id": {"2"}}, "2"},
		{"none", http.Header{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := mucp.Get(tt.header, mucp.HeaderID); got != tt.want {
				t.Errorf("Get = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSet(t *testing.T) {
	h := make(http.Header)
	mucp.Set(h, mucp.HeaderError, "e")
	if diff := cmp.Diff(http.Header{"Micro-Error": {"e"}, "X-Micro-Error": {"e"}}, h); diff != "" {
		t.Errorf("Set (-want +got):\n%s", diff)
	}
}

func TestTimeout(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"5000000000", 5 * time.Second, true},
		{"1", 1, true},
		{"0", 0, false},
		{"-1", -1, false},
		{"", 0, false},
		{"5s", 0, false},
		{"99999999999999999999", 1<<63 - 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, ok := mucp.ParseTimeout(tt.text)
			if got != tt.want || ok != tt.ok {
				t.Errorf("ParseTimeout(%q) = %v, %t, want %v, %t", tt.text, got, ok, tt.want, tt.ok)
			}
			if ok && mucp.FormatTimeout(got) != tt.text {
				t.Errorf("FormatTimeout(%v) = %q, want %q", got, mucp.FormatTimeout(got), tt.text)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	h := make(http.Header)
	mucp.Metadata(h, map[string]string{
		"x-tenant": "a", "Authorization": "Bearer b", "Cookie": "", "Microphone": "on",
		"micro-topic": "evil", "X-MICRO-STREAM": "evil", "timeout": "1", "Connection": "close", "te": "trailers",
		"content-encoding": "gzip", "Grpc-Timeout": "1S", "http2-settings": "x",
		"": "x", "a b": "x", "X-Split": "a\r\nb", "ü": "x",
	})
	want := http.Header{"X-Tenant": {"a"}, "Authorization": {"Bearer b"}, "Cookie": {""}, "Microphone": {"on"}}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("Metadata (-want +got):\n%s", diff)
	}
}
