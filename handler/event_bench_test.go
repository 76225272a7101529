package handler_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
)

// A sink takes every message, and keeps none.
type sink struct{}

func (sink) Publish(context.Context, string, *broker.Message) error { return nil }

// BenchmarkEvents guards what it costs to make a message of a request.
func BenchmarkEvents(b *testing.B) {
	const data = `{"name":"john","age":7}`
	tests := []struct {
		name   string
		h      http.Handler
		body   string
		header []string
	}{
		{"event", handler.Event(sink{}, nil), data, nil},
		{"protobuf", handler.Event(sink{}, &handler.EventOptions{Protobuf: true}), data, nil},
		{"binary", handler.CloudEvents(sink{}, nil), data, inHeaders("Content-Type", "application/json")},
		{"structured", handler.CloudEvents(sink{}, nil), `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":` + data + `}`, []string{"Content-Type", structuredType}},
		{"batch of 100", handler.CloudEvents(sink{}, nil), batchOf(100), []string{"Content-Type", batchType}},
	}
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			header := make(http.Header)
			for i := 0; i < len(tt.header); i += 2 {
				header.Set(tt.header[i], tt.header[i+1])
			}
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodPost, "/a/b", strings.NewReader(tt.body))
				r.Header = header
				w := httptest.NewRecorder()
				if tt.h.ServeHTTP(w, r); w.Code != http.StatusAccepted {
					b.Fatalf("answer = %d %s", w.Code, w.Body)
				}
			}
		})
	}
}
