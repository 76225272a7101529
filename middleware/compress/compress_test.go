package compress_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware/compress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// large is a body that shrinks.
var large = strings.Repeat(`{"name":"greeter","version":"latest"}`+"\n", 200)

func TestWhatIsCompressed(t *testing.T) {
	type header = map[string]string
	const browser = "gzip, deflate, br, zstd"
	json := header{"Content-Type": "application/json"}
	with := func(h header) header {
		all := maps.Clone(json)
		maps.Copy(all, h)
		return all
	}
	tests := []struct {
		name    string
		opts    *compress.Options
		request header
		status  int
		answer  header
		body    string
		want    string // Content-Encoding
		vary    string
	}{
		{"a browser gets zstd", nil, header{"Accept-Encoding": browser}, 200, json, large, "zstd", "Accept-Encoding"},
		{"gzip", nil, header{"Accept-Encoding": "gzip"}, 200, json, large, "gzip", "Accept-Encoding"},
		{"gzip by its old name", nil, header{"Accept-Encoding": "x-gzip"}, 200, json, large, "gzip", "Accept-Encoding"},
		{"in capitals", nil, header{"Accept-Encoding": "GZIP"}, 200, json, large, "gzip", "Accept-Encoding"},
		{"gzip is wanted more", nil, header{"Accept-Encoding": "zstd;q=0.5, gzip;q=0.501"}, 200, json, large, "gzip", "Accept-Encoding"},
		{"anything", nil, header{"Accept-Encoding": "*"}, 200, json, large, "zstd", "Accept-Encoding"},
		{"anything but zstd", nil, header{"Accept-Encoding": "*, zstd;q=0"}, 200, json, large, "gzip", "Accept-Encoding"},
		{"not gzip", nil, header{"Accept-Encoding": "gzip;q=0"}, 200, json, large, "", "Accept-Encoding"},
		{"not gzip, at length", nil, header{"Accept-Encoding": "gzip; foo=bar; Q=0.000 , identity"}, 200, json, large, "", "Accept-Encoding"},
		{"gzip with a weight that is none", nil, header{"Accept-Encoding": "gzip;q=high"}, 200, json, large, "", "Accept-Encoding"},
		{"a weight above 1", nil, header{"Accept-Encoding": "gzip;q=1.1"}, 200, json, large, "", "Accept-Encoding"},
		{"rather not", nil, header{"Accept-Encoding": "gzip;q=0.5, identity"}, 200, json, large, "", "Accept-Encoding"},
		{"as well as not", nil, header{"Accept-Encoding": "gzip, identity"}, 200, json, large, "gzip", "Accept-Encoding"},
		{"only what is not known", nil, header{"Accept-Encoding": "br"}, 200, json, large, "", "Accept-Encoding"},
		{"nothing is said", nil, nil, 200, json, large, "", "Accept-Encoding"},
		{"without zstd", &compress.Options{Zstd: -1}, header{"Accept-Encoding": browser}, 200, json, large, "gzip", "Accept-Encoding"},
		{"without gzip", &compress.Options{Gzip: -1}, header{"Accept-Encoding": "gzip"}, 200, json, large, "", "Accept-Encoding"},
		{"other levels", &compress.Options{Gzip: 9, Zstd: 3}, header{"Accept-Encoding": "gzip"}, 200, json, large, "gzip", "Accept-Encoding"},

		{"an error", nil, header{"Accept-Encoding": "gzip"}, 500, json, large, "gzip", "Accept-Encoding"},
		{"a small body", nil, header{"Accept-Encoding": "gzip"}, 200, json, large[:1023], "", "Accept-Encoding"},
		{"a body that is just large enough", nil, header{"Accept-Encoding": "gzip"}, 200, json, large[:1024], "gzip", "Accept-Encoding"},
		{"a small body of known length", nil, header{"Accept-Encoding": "gzip"}, 200, with(header{"Content-Length": "37"}), large[:37], "", "Accept-Encoding"},
		{"a body of known length", nil, header{"Accept-Encoding": "gzip"}, 200, with(header{"Content-Length": strconv.Itoa(len(large))}), large, "gzip", "Accept-Encoding"},
		{"a small body where that is enough", &compress.Options{MinSize: 10}, header{"Accept-Encoding": "gzip"}, 200, json, large[:37], "gzip", "Accept-Encoding"},
		{"no body", nil, header{"Accept-Encoding": "gzip"}, 200, json, "", "", "Accept-Encoding"},
		{"no content", nil, header{"Accept-Encoding": "gzip"}, 204, nil, "", "", ""},

		{"a picture", nil, header{"Accept-Encoding": "gzip"}, 200, header{"Content-Type": "image/png"}, large, "", ""},
		{"a drawing", nil, header{"Accept-Encoding": "gzip"}, 200, header{"Content-Type": "image/svg+xml; charset=utf-8"}, large, "gzip", "Accept-Encoding"},
		{"a problem", nil, header{"Accept-Encoding": "gzip"}, 400, header{"Content-Type": "application/problem+json"}, large, "gzip", "Accept-Encoding"},
		{"lines of JSON", nil, header{"Accept-Encoding": "gzip"}, 200, header{"Content-Type": "application/x-ndjson"}, large, "gzip", "Accept-Encoding"},
		{"a type in capitals", nil, header{"Accept-Encoding": "gzip"}, 200, header{"Content-Type": "Text/HTML"}, large, "gzip", "Accept-Encoding"},
		{"a type that is like another", nil, header{"Accept-Encoding": "gzip"}, 200, header{"Content-Type": "application/jsonx"}, large, "", ""},
		{"an event stream", nil, header{"Accept-Encoding": "gzip"}, 200, header{"Content-Type": "text/event-stream; charset=utf-8"}, large, "", ""},
		{"an event stream where all is compressed", &compress.Options{Types: []string{"*"}}, header{"Accept-Encoding": "gzip"}, 200, header{"Content-Type": "text/event-stream"}, large, "", ""},
		{"gRPC", &compress.Options{Types: []string{"application/*"}}, header{"Accept-Encoding": "gzip", "Content-Type": "application/grpc"}, 200, header{"Content-Type": "application/grpc"}, large, "", ""},
		{"gRPC for browsers", &compress.Options{Types: []string{"*"}}, header{"Accept-Encoding": "gzip"}, 200, header{"Content-Type": "application/grpc-web+proto"}, large, "", ""},
		{"only what is listed", &compress.Options{Types: []string{"text/*"}}, header{"Accept-Encoding": "gzip"}, 200, json, large, "", ""},
		{"no type", nil, header{"Accept-Encoding": "gzip"}, 200, header{"Content-Type": ""}, large, "", ""},

		{"encoded", nil, header{"Accept-Encoding": "gzip"}, 200, with(header{"Content-Encoding": "br"}), large, "br", ""},
		{"no-transform", nil, header{"Accept-Encoding": "gzip"}, 200, with(header{"Cache-Control": "public, No-Transform"}), large, "", ""},
		{"no-transform for the request", nil, header{"Accept-Encoding": "gzip", "Cache-Control": "no-transform"}, 200, json, large, "", "Accept-Encoding"},
		{"a range is asked for", nil, header{"Accept-Encoding": "gzip", "Range": "bytes=0-"}, 200, json, large, "", "Accept-Encoding"},
		{"a part", nil, header{"Accept-Encoding": "gzip"}, 206, with(header{"Content-Range": "bytes 0-9/10"}), large, "", ""},
		{"a digest", nil, header{"Accept-Encoding": "gzip"}, 200, with(header{"Content-Digest": "sha-256=:AA==:"}), large, "", ""},
		{"Vary is there", nil, header{"Accept-Encoding": "gzip"}, 200, with(header{"Vary": "Origin, accept-encoding"}), large, "gzip", "Origin, accept-encoding"},
		{"Vary has others", nil, header{"Accept-Encoding": "gzip"}, 200, with(header{"Vary": "Origin"}), large, "gzip", "Origin|Accept-Encoding"},

		{"a cookie", nil, header{"Accept-Encoding": "gzip", "Cookie": "a=b"}, 200, json, large, "", "Accept-Encoding"},
		{"a cookie, from elsewhere", nil, header{"Accept-Encoding": "gzip", "Cookie": "a=b", "Sec-Fetch-Site": "cross-site"}, 200, json, large, "", "Accept-Encoding"},
		{"a cookie, from a neighbour", nil, header{"Accept-Encoding": "gzip", "Cookie": "a=b", "Sec-Fetch-Site": "same-site"}, 200, json, large, "", "Accept-Encoding"},
		{"a cookie, from the page's own origin", nil, header{"Accept-Encoding": "gzip", "Cookie": "a=b", "Sec-Fetch-Site": "same-origin"}, 200, json, large, "gzip", "Accept-Encoding"},
		{"a cookie, from the user", nil, header{"Accept-Encoding": "gzip", "Cookie": "a=b", "Sec-Fetch-Site": "none"}, 200, json, large, "gzip", "Accept-Encoding"},
		{"a password", nil, header{"Accept-Encoding": "gzip", "Authorization": "Basic YTpi"}, 200, json, large, "", "Accept-Encoding"},
		{"a token", nil, header{"Accept-Encoding": "gzip", "Authorization": "bearer abc"}, 200, json, large, "gzip", "Accept-Encoding"},
		{"a cookie where that is no matter", &compress.Options{Credentials: true}, header{"Accept-Encoding": "gzip", "Cookie": "a=b"}, 200, json, large, "gzip", "Accept-Encoding"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			service := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range tt.answer {
					w.Header().Set(name, value)
				}
				if tt.answer["Content-Type"] == "" {
					w.Header()["Content-Type"] = nil
				}
				w.WriteHeader(tt.status)
				for body := tt.body; body != ""; { // in pieces
					n := min(300, len(body))
					io.WriteString(w, body[:n])
					body = body[n:]
				}
			})
			resp := get(t, wrap(t, tt.opts, service), tt.request)
			if got := resp.Header.Get("Content-Encoding"); got != tt.want {
				t.Errorf("Content-Encoding = %q, want %q", got, tt.want)
			}
			if got := strings.Join(resp.Header["Vary"], "|"); got != tt.vary {
				t.Errorf("Vary = %q, want %q", got, tt.vary)
			}
			if resp.StatusCode != tt.status {
				t.Errorf("status = %d, want %d", resp.StatusCode, tt.status)
			}
			if got := decode(t, resp); tt.want != "br" && got != tt.body {
				t.Errorf("body = %d bytes %.60q, want %d bytes", len(got), got, len(tt.body))
			}
		})
	}
}

// TestVerifiedCredentials: who has been verified may have no credentials on the
// request any more.
func TestVerifiedCredentials(t *testing.T) {
	for method, want := range map[string]string{"basic": "", "mtls": "", "jwt": "gzip", "key": "gzip"} {
		h := wrap(t, nil, answer(http.Header{"Content-Type": {"text/plain"}}, large))
		verified := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w, r, ex := goapi.NewExchange(w, r)
			ex.Identity = &goapi.Identity{Method: method}
			h.ServeHTTP(w, r)
		})
		if got := get(t, verified, map[string]string{"Accept-Encoding": "gzip"}).Header.Get("Content-Encoding"); got != want {
			t.Errorf("Content-Encoding after %s = %q, want %q", method, got, want)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}
	w := httptest.NewRecorder()
	wrap(t, nil, answer(http.Header{"Content-Type": {"text/plain"}}, large)).ServeHTTP(w, r)
	if got := w.Header().Get("Content-Encoding"); got != "" {
		t.Errorf("Content-Encoding with a client certificate = %q, want none", got)
	}
}

// TestHeaderOfCompressed: what is said of the bytes is true of those that are sent.
func TestHeaderOfCompressed(t *testing.T) {
	const body = 5000
	service := func(etag string) http.Handler {
		return answer(http.Header{
			"Content-Type": {"text/plain"}, "Etag": {etag}, "Accept-Ranges": {"bytes"},
			"Content-Length": {strconv.Itoa(body)},
		}, large[:body])
	}
	tests := []struct {
		name, method, etag, accept string
		want                       http.Header
	}{
		{"compressed", "GET", `"a"`, "gzip", http.Header{"Etag": {`W/"a"`}, "Content-Encoding": {"gzip"}}},
		{"weak already", "GET", `W/"a"`, "gzip", http.Header{"Etag": {`W/"a"`}, "Content-Encoding": {"gzip"}}},
		{"as it is", "GET", `"a"`, "", http.Header{"Etag": {`"a"`}, "Accept-Ranges": {"bytes"}, "Content-Length": {"5000"}}},
		{"HEAD as GET", "HEAD", `"a"`, "gzip", http.Header{"Etag": {`W/"a"`}, "Content-Encoding": {"gzip"}}},
		{"HEAD as it is", "HEAD", `"a"`, "", http.Header{"Etag": {`"a"`}, "Accept-Ranges": {"bytes"}, "Content-Length": {"5000"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(wrap(t, nil, service(tt.etag)))
			defer s.Close()
			resp := do(t, s, tt.method, map[string]string{"Accept-Encoding": tt.accept})
			for _, name := range []string{"Etag", "Content-Encoding", "Accept-Ranges"} {
				if got, want := resp.Header.Get(name), tt.want.Get(name); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
			if want := tt.want.Get("Content-Length"); want != "" && resp.Header.Get("Content-Length") != want {
				t.Errorf("Content-Length = %q, want %q", resp.Header.Get("Content-Length"), want)
			}
			if resp.Header.Get("Content-Length") == "5000" && tt.accept != "" {
				t.Error("a compressed answer has the length of the body that it stands for")
			}
			if got := decode(t, resp); tt.method == "GET" && got != large[:body] {
				t.Errorf("body = %d bytes, want %d", len(got), body)
			}
		})
	}
}

// TestNotModified: what a client has from us keeps its ETag.
func TestNotModified(t *testing.T) {
	h := wrap(t, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"a"`)
		w.WriteHeader(http.StatusNotModified)
	}))
	for has, want := range map[string]string{`W/"a"`: `W/"a"`, `"b", W/"a"`: `W/"a"`, `"a"`: `"a"`, "*": `"a"`} {
		resp := get(t, h, map[string]string{"If-None-Match": has, "Accept-Encoding": "gzip"})
		if got := resp.Header.Get("ETag"); got != want || resp.StatusCode != 304 {
			t.Errorf("If-None-Match: %s: ETag = %s, status = %d; want %s, 304", has, got, resp.StatusCode, want)
		}
	}
}

// TestEncodersAreBounded: when all encoders are busy, answers are compressed
// without a memory, or not at all.
func TestEncodersAreBounded(t *testing.T) {
	reached, goOn := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(wrap(t, &compress.Options{Encoders: 1}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, large)
		if r.URL.Path == "/slow" {
			reached <- struct{}{}
			<-goOn
		}
	})))
	defer s.Close()
	slow := make(chan string, 1)
	go func() {
		resp, err := s.Client().Do(request(t, "GET", s.URL+"/slow", map[string]string{"Accept-Encoding": "zstd"}))
		if err != nil {
			slow <- err.Error()
			return
		}
		slow <- resp.Header.Get("Content-Encoding") + decode(t, resp)
	}()
	<-reached
	for accept, want := range map[string]string{"gzip": "gzip", "zstd, gzip;q=0.1": "gzip", "zstd": ""} {
		resp := do(t, s, "GET", map[string]string{"Accept-Encoding": accept})
		if got := resp.Header.Get("Content-Encoding"); got != want {
			t.Errorf("Content-Encoding for %q = %q while all encoders are busy, want %q", accept, got, want)
		}
		if got := decode(t, resp); got != large {
			t.Errorf("body for %q = %d bytes, want %d", accept, len(got), len(large))
		}
	}
	close(goOn)
	if got := <-slow; got != "zstd"+large {
		t.Errorf("the answer that had the encoder = %.40q, want all of it with zstd", got)
	}
	resp := do(t, s, "GET", map[string]string{"Accept-Encoding": "zstd"})
	if got := resp.Header.Get("Content-Encoding"); got != "zstd" {
		t.Errorf("Content-Encoding when the encoder is free again = %q, want zstd", got)
	}
	decode(t, resp)
}

func TestNewErrors(t *testing.T) {
	tests := []struct {
		name string
		opts compress.Options
		want string
	}{
		{"a negative size", compress.Options{MinSize: -1}, "write 1 to 1048576"},
		{"a size that is not waited for", compress.Options{MinSize: 1 << 30}, "cannot be waited for"},
		{"no such level of gzip", compress.Options{Gzip: 10}, "gzip has no level 10: write 1 (fastest) to 9"},
		{"gzip without memory", compress.Options{Gzip: -3}, "gzip has no level -3"},
		{"no such level of zstd", compress.Options{Zstd: 4}, "zstd has no level 4: write 1 (fastest) to 3"},
		{"neither", compress.Options{Gzip: -1, Zstd: -1}, "neither gzip nor zstd"},
		{"no encoders", compress.Options{Encoders: -1}, "-1 encoders"},
		{"no types", compress.Options{Types: []string{}}, "no media types"},
		{"half a type", compress.Options{Types: []string{"text"}}, `"text" is no media type`},
		{"an empty type", compress.Options{Types: []string{""}}, "is no media type"},
		{"two stars", compress.Options{Types: []string{"*/*"}}, "with one * at most"},
		{"parameters", compress.Options{Types: []string{"text/html; charset=utf-8"}}, "without parameters"},
		{"event streams", compress.Options{Types: []string{"Text/Event-Stream"}}, "text/event-stream is never compressed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := compress.New(&tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("New() error = %v, want one line with %q", err, tt.want)
			}
		})
	}
}

func ExampleNew() {
	wrap, err := compress.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	h := wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `[`+strings.Repeat(`"all work and no play",`, 500)+`""]`)
	}))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Header().Get("Content-Encoding"), w.Header().Get("Vary"), w.Body.Len() < 500)
	// Output: gzip Accept-Encoding true
}

// wrap returns h, compressed.
func wrap(t testing.TB, opts *compress.Options, h http.Handler) http.Handler {
	t.Helper()
	w, err := compress.New(opts)
	if err != nil {
		t.Fatalf("New() error = %v", err)
	}
	return w(h)
}

// answer returns a handler that gives one answer.
func answer(header http.Header, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), header)
		io.WriteString(w, body)
	})
}

func request(t testing.TB, method, url string, header map[string]string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	return r
}

// get asks a server of its own.
func get(t testing.TB, h http.Handler, header map[string]string) *http.Response {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return do(t, s, "GET", header)
}

func do(t testing.TB, s *httptest.Server, method string, header map[string]string) *http.Response {
	t.Helper()
	s.Client().Transport.(*http.Transport).DisableCompression = true // or it asks for gzip by itself
	resp, err := s.Client().Do(request(t, method, s.URL, header))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// decode returns the body of an answer.
func decode(t testing.TB, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("read of the body: %v", err)
	}
	if len(body) == 0 {
		return ""
	}
	plain, err := decoded(resp.Header.Get("Content-Encoding"), body)
	if err != nil {
		t.Errorf("decoding of the body: %v", err)
	}
	return plain
}

// decoded returns what a body stands for; an error if it is not complete.
func decoded(coding string, body []byte) (string, error) {
	var r io.Reader = bytes.NewReader(body)
	switch coding {
	case "gzip":
		zr, err := gzip.NewReader(r)
		if err != nil {
			return "", err
		}
		r = zr
	case "zstd":
		zr, err := zstd.NewReader(r)
		if err != nil {
			return "", err
		}
		defer zr.Close()
		r = zr
	}
	plain, err := io.ReadAll(r)
	return string(plain), err
}
