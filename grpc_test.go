package goapi_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/upstream"
)

func TestGRPCStatus(t *testing.T) {
	tests := []struct {
		name    string
		err     error
		code    string
		message string
	}{
		{"no route", goapi.ErrNoRoute, "12", "no route for this request"},
		{"no nodes", upstream.ErrNoNodes, "14", "no node of the service can serve"},
		{"node away", &upstream.NodeError{Service: "echo", Err: errors.New("refused")}, "14", "service echo could not be reached"},
		{"deadline", context.DeadlineExceeded, "4", "the service did not answer in time"},
		{"client gone", context.Canceled, "1", "the client went away"},
		{"defect", errors.New("disk on fire"), "13", "the gateway failed; its log says why"},
		{"malformed", goapi.NewError(400, "100 % é\n", nil), "3", "100 %25 %C3%A9%0A"},
		{"unknown client", goapi.NewError(401, "", nil), "16", ""},
		{"forbidden", goapi.NewError(403, "", nil), "7", ""},
		{"no method", goapi.NewError(405, "", nil), "12", ""},
		{"slow client", goapi.NewError(408, "", nil), "4", ""},
		{"conflict", goapi.NewError(409, "", nil), "10", ""},
		{"too large", goapi.NewError(413, "", nil), "8", ""},
		{"unknown type", goapi.NewError(415, "", nil), "12", ""},
		{"too many", goapi.NewError(429, "", nil), "8", ""},
		{"too much header", goapi.NewError(431, "", nil), "8", ""},
		{"another of the client", goapi.NewError(418, "", nil), "3", ""},
		{"another of the gateway", goapi.NewError(507, "", nil), "13", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if code, message := goapi.GRPCStatus(tt.err); code != tt.code || message != tt.message {
				t.Errorf("GRPCStatus(%v) = %s %q, want %s %q", tt.err, code, message, tt.code, tt.message)
			}
		})
	}
}

func TestWriteErrorOfGRPC(t *testing.T) {
	const frame = "\x80\x00\x00\x00\x42grpc-status: 14\r\ngrpc-message: service echo could not be reached\r\n"
	tests := []struct {
		name, contentType string
		major             int // of HTTP
		code              int
		status            string
		body              string
	}{
		{"gRPC", "application/grpc", 2, 200, "14", ""},
		{"gRPC of JSON", "application/grpc+json; v=1", 2, 200, "14", ""},
		{"gRPC-Web", "application/grpc-web+proto", 1, 200, "", frame},
		{"gRPC-Web, text", "application/grpc-web-text", 2, 200, "", base64.StdEncoding.EncodeToString([]byte(frame))},
		{"a longer type", "application/grpcfoo", 2, 502, "",
			`{"id":"goapi","code":502,"detail":"service echo could not be reached","status":"Bad Gateway"}` + "\n"},
		{"a longer type of gRPC-Web", "application/grpc-website", 1, 502, "",
			`{"id":"goapi","code":502,"detail":"service echo could not be reached","status":"Bad Gateway"}` + "\n"},
		{"gRPC over HTTP/1.1, which is none", "application/grpc", 1, 502, "",
			`{"id":"goapi","code":502,"detail":"service echo could not be reached","status":"Bad Gateway"}` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", nil)
			r.ProtoMajor = tt.major
			r.Header.Set("Content-Type", tt.contentType)
			w := httptest.NewRecorder()
			goapi.WriteError(w, r, goapi.NewError(502, "service echo could not be reached", errors.New("10.1.2.3")))
			kind, _, _ := strings.Cut(tt.contentType, ";")
			if tt.code != 200 {
				kind = "application/json"
			}
			if got := w.Header().Get("Content-Type"); got != kind || w.Code != tt.code {
				t.Errorf("answer = %d, %s; want %d, %s", w.Code, got, tt.code, kind)
			}
			if got := w.Header().Get("Grpc-Status"); got != tt.status || w.Body.String() != tt.body {
				t.Errorf("status = %q with body %q, want %q with %q", got, w.Body, tt.status, tt.body)
			}
		})
	}
}
