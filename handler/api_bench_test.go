package handler_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/proto"
)

func BenchmarkAPI(b *testing.B) {
	body := `{"name":"` + strings.Repeat("x", 900) + `","age":7}`
	replies := map[bool]string{false: `{"statusCode":200,"header":{"X-A":{"key":"X-A","values":["1"]}},"body":"hello"}`}
	message, err := protobuf.Marshal(&proto.Response{StatusCode: 200, Header: pairs("X-A", "1"), Body: "hello"})
	if err != nil {
		b.Fatal(err)
	}
	replies[true] = string(message)
	for name, asProtobuf := range map[string]bool{"json": false, "protobuf": true} {
		b.Run(name, func(b *testing.B) {
			h := goapi.With(echoRoute(), handler.API(answer(replies[asProtobuf]), &handler.APIOptions{Protobuf: asProtobuf}))
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodPost, "/echo?a=1&b=2", strings.NewReader(body))
				r.Header["Content-Type"] = []string{"application/json"}
				r.Header["User-Agent"] = []string{"bench"}
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}
