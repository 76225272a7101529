package middleware_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/goapi-dev/goapi/middleware"
)

func TestBounds(t *testing.T) {
	tests := []struct {
		name   string
		method string
		fields int
		opts   *middleware.BoundsOptions
		want   int
	}{
		{"few fields", "GET", 10, nil, 200},
		{"as many as allowed", "GET", 200, nil, 200},
		{"one too many", "GET", 201, nil, 431},
		{"fewer allowed", "GET", 11, &middleware.BoundsOptions{HeaderFields: 10}, 431},
		{"CONNECT", "CONNECT", 1, nil, 405},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			served := false
			h := middleware.Bounds(tt.opts)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true }))
			r := httptest.NewRequest(tt.method, "/", nil)
			for i := range tt.fields {
				r.Header.Add("X-"+strconv.Itoa(i/2), "v") // two lines of a name count as two
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.want || served != (tt.want == 200) {
				t.Errorf("status = %d, served = %t; want %d", w.Code, served, tt.want)
			}
		})
	}
}

func Example() {
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	h := middleware.Bounds(&middleware.BoundsOptions{HeaderFields: 1})(hello)

	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("A", "1")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)

	r.Header.Set("B", "2")
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output:
	// 200 hello
	// 431 {"id":"goapi","code":431,"detail":"the request has 2 header fields; at most 1 are taken","status":"Request Header Fields Too Large"}
}
