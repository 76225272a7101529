package handler

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/upstream"
)

func TestParseTimeout(t *testing.T) {
	tests := []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"1n", 1, true},
		{"25u", 25 * time.Microsecond, true},
		{"00000100m", 100 * time.Millisecond, true},
		{"1S", time.Second, true},
		{"2M", 2 * time.Minute, true},
		{"3H", 3 * time.Hour, true},
		{"0S", 0, true},
		{"99999999H", math.MaxInt64, true},
		{"100000000n", 0, false},
		{"", 0, false},
		{"S", 0, false},
		{"1", 0, false},
		{"1s", 0, false},
		{"-1S", 0, false},
		{"+1S", 0, false},
		{"1.5S", 0, false},
		{" 1S", 0, false},
		{"１S", 0, false},
	}
	for _, tt := range tests {
		if got, ok := parseTimeout(tt.in); got != tt.want || ok != tt.ok {
			t.Errorf("parseTimeout(%q) = %v, %t; want %v, %t", tt.in, got, ok, tt.want, tt.ok)
		}
	}
}

func TestFormatTimeout(t *testing.T) {
	tests := []struct {
		in   time.Duration
		want string
	}{
		{-time.Second, "1n"},
		{0, "1n"},
		{99_999_999, "99999999n"},
		{100 * time.Millisecond, "100000u"},
		{time.Hour + 1, "3600000m"},
		{math.MaxInt64, "2562047H"},
	}
	for _, tt := range tests {
		if got := formatTimeout(tt.in); got != tt.want && tt.in != math.MaxInt64 {
			t.Errorf("formatTimeout(%v) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

// FuzzTimeout writes what it has read: it must not become longer, nor shorter by
// more than a part in a million.
func FuzzTimeout(f *testing.F) {
	for _, s := range []string{"1n", "100m", "99999999H", "0S", "99999999M", "12345678u"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := parseTimeout(s)
		if !ok {
			return
		}
		again, ok := parseTimeout(formatTimeout(d))
		if !ok || d > 0 && again > d || again < d-d/1_000_000-1 {
			t.Errorf("parseTimeout(formatTimeout(%v)) = %v, %t; want hardly less", d, again, ok)
		}
	})
}

// TestGRPCAnswerTakesBack wants an answer that comes as the call is given up to
// leave the client's header as it was: the error that follows is in it.
func TestGRPCAnswerTakesBack(t *testing.T) {
	givenUp, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name   string
		ctx    context.Context
		header http.Header // of the answer
	}{
		{"given up", givenUp, http.Header{"Vary": {"Accept"}, "X-Service": {"a"}}},
		{"malformed", t.Context(), http.Header{"Vary": {"Accept"}, "X Service": {"a"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			w.Header()["Vary"], w.Header()["X-Request-Id"] = []string{"Origin"}, []string{"7"}
			want := w.Header().Clone()
			s := &grpcStream{w: w, dialect: dialectGRPC, ex: &goapi.Exchange{Route: &goapi.Route{Service: "echo"}}}
			tt.header.Set("Content-Type", typeGRPC)
			rsp := &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Header: tt.header, Body: http.NoBody}
			if err := s.answer(tt.ctx, nil, new(upstream.Try), rsp); err == nil || s.begun {
				t.Errorf("answer = %v, begun %t; want an error before it has begun", err, s.begun)
			}
			if !reflect.DeepEqual(w.Header(), want) {
				t.Errorf("header = %v, want %v", w.Header(), want)
			}
		})
	}
}

// FuzzBase64Reader compares with the decoder of one piece: pieces that are sent
// behind each other, and read in whatever portions, are decoded as each alone.
func FuzzBase64Reader(f *testing.F) {
	f.Add("AAAA", "AA==")
	f.Add("AA==", "AAA=")
	f.Add("A", "")
	f.Add("AA=A", "====")
	f.Add("AA\n==", "AAAA")
	f.Add(strings.Repeat("abcd", 260), "ab==")
	f.Fuzz(func(t *testing.T, one, two string) {
		a, errA := base64.StdEncoding.DecodeString(one)
		b, errB := base64.StdEncoding.DecodeString(two)
		valid := errA == nil && errB == nil && !strings.ContainsAny(one+two, "\r\n")
		for name, src := range map[string]io.Reader{
			"whole":   strings.NewReader(one + two),
			"a byte":  iotest.OneByteReader(strings.NewReader(one + two)),
			"at once": iotest.DataErrReader(strings.NewReader(one + two)),
		} {
			got, err := io.ReadAll(&base64Reader{src: src})
			if valid && (err != nil || !bytes.Equal(got, append(bytes.Clone(a), b...))) {
				t.Errorf("%s: %q and %q = %q, %v; want %q and %q", name, one, two, got, err, a, b)
			}
			if err != nil && !errors.Is(err, errBase64) {
				t.Errorf("%s: error = %v, want errBase64", name, err)
			}
		}
	})
}

func TestBase64ReaderPassesErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	got, err := io.ReadAll(&base64Reader{src: io.MultiReader(strings.NewReader("aGVsbG8="), iotest.ErrReader(broken))})
	if string(got) != "hello" || !errors.Is(err, broken) {
		t.Errorf("ReadAll = %q, %v; want hello, and the error", got, err)
	}
}

func TestDialects(t *testing.T) {
	tests := []struct {
		contentType string
		want        dialect // empty for none
		toService   string
		toClient    string // for application/grpc+proto
	}{
		{"application/grpc", dialectGRPC, "application/grpc", "application/grpc+proto"},
		{"application/grpc+json", dialectGRPC, "application/grpc+json", "application/grpc+proto"},
		{"application/grpc;charset=utf-8", dialectGRPC, "application/grpc;charset=utf-8", "application/grpc+proto"},
		{"application/grpc-web", dialectWeb, "application/grpc", "application/grpc-web+proto"},
		{"application/grpc-web+proto", dialectWeb, "application/grpc+proto", "application/grpc-web+proto"},
		{"application/grpc-web-text", dialectText, "application/grpc", "application/grpc-web-text+proto"},
		{"application/grpc-web-text+proto", dialectText, "application/grpc+proto", "application/grpc-web-text+proto"},
		{"application/grpc-websocket", "", "", ""},
		{"application/grpcs", "", "", ""},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("POST", "/", nil)
		r.ProtoMajor, r.ProtoMinor = 2, 0
		r.Header.Set("Content-Type", tt.contentType)
		got, err := dialectOf(r)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("dialectOf(%s) = %q, %v; want %q", tt.contentType, got, err, tt.want)
		}
		if tt.want == "" {
			continue
		}
		if s, c := got.toService(tt.contentType), got.toClient("application/grpc+proto"); s != tt.toService || c != tt.toClient {
			t.Errorf("%s to the service = %s, to the client = %s; want %s, %s", tt.contentType, s, c, tt.toService, tt.toClient)
		}
	}
}
