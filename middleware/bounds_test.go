package middleware_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
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

func TestBoundsOfURLs(t *testing.T) {
	tests := []struct {
		name   string
		length int
		opts   *middleware.BoundsOptions
		want   string
	}{
		{"as long as allowed", 16 << 10, nil, "200"},
		{"longer", 16<<10 + 1, nil, "414"},
		{"longer, where more is allowed", 16<<10 + 1, &middleware.BoundsOptions{URLBytes: 32 << 10}, "200"},
		{"longer than little", 101, &middleware.BoundsOptions{URLBytes: 100}, "414"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(middleware.Bounds(tt.opts)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
			defer s.Close()
			target := "/?" + strings.Repeat("a", tt.length-2)
			if got := rawRequest(t, s.Listener.Addr().String(), "GET "+target+" HTTP/1.1\r\nHost: a\r\n\r\n"); got != tt.want {
				t.Errorf("status = %s, want %s", got, tt.want)
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
