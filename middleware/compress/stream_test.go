package compress_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/middleware/compress"
	"github.com/goapi-dev/goapi/upstream"
)

// patience is how long a test waits for what should come at once.
const patience = 10 * time.Second

// start starts a server; over HTTP/2 if that is wanted.
func start(t *testing.T, h http.Handler, http2 bool) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of panics that are meant
	if s.EnableHTTP2 = http2; http2 {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	s.Client().Transport.(*http.Transport).DisableCompression = true
	return s
}

// eachProtocol runs a test over HTTP/1.1 and HTTP/2, with both codings.
func eachProtocol(t *testing.T, test func(t *testing.T, http2 bool, coding string)) {
	for _, http2 := range []bool{false, true} {
		for _, coding := range []string{"gzip", "zstd"} {
			t.Run(fmt.Sprintf("%s http2=%t", coding, http2), func(t *testing.T) { test(t, http2, coding) })
		}
	}
}

// TestFlushedLinesArriveAtOnce: of an answer that never ends, each line is there
// before the next is written.
func TestFlushedLinesArriveAtOnce(t *testing.T) {
	eachProtocol(t, func(t *testing.T, http2 bool, coding string) {
		next := make(chan string)
		s := start(t, wrap(t, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-ndjson")
			rc := http.NewResponseController(w)
			if err := rc.Flush(); err != nil { // the head alone
				t.Errorf("Flush() error = %v", err)
			}
			for line := range next {
				io.WriteString(w, line)
				if err := rc.Flush(); err != nil {
					t.Errorf("Flush() error = %v", err)
				}
			}
		})), http2)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		resp, err := s.Client().Do(request(t, "GET", s.URL, map[string]string{"Accept-Encoding": coding}).WithContext(ctx))
		if err != nil {
			t.Fatalf("the head does not arrive: %v", err)
		}
		defer resp.Body.Close()
		if got := resp.Header.Get("Content-Encoding"); got != coding {
			t.Errorf("Content-Encoding = %q, want %q", got, coding)
		}
		var lines *bufio.Reader
		for i := range 20 {
			line := fmt.Sprintf("{\"line\":%d}\n", i)
			next <- line
			if lines == nil {
				lines = bufio.NewReader(decoder(t, coding, resp.Body))
			}
			got, err := lines.ReadString('\n')
			if err != nil || got != line {
				t.Fatalf("line %d = %q, %v; want %q", i, got, err, line)
			}
		}
		close(next)
		if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
			t.Errorf("after the last line = %q, %v; want the end", rest, err)
		}
	})
}

// TestBrokenAnswerStaysBroken: what a handler began and could not complete never
// looks whole, however much of it went out.
func TestBrokenAnswerStaysBroken(t *testing.T) {
	begin := map[string]func(w http.ResponseWriter){
		"nothing but the head": func(w http.ResponseWriter) { w.WriteHeader(200) },
		"what is held":         func(w http.ResponseWriter) { io.WriteString(w, "a few bytes") },
		"what is compressed":   func(w http.ResponseWriter) { io.WriteString(w, large) },
		"what is flushed": func(w http.ResponseWriter) {
			io.WriteString(w, large)
			http.NewResponseController(w).Flush()
		},
		"a flushed head": func(w http.ResponseWriter) { http.NewResponseController(w).Flush() },
	}
	end := map[string]http.HandlerFunc{
		"an error": goapi.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			begin[r.URL.Query().Get("begin")](w)
			return goapi.NewError(http.StatusBadGateway, "the service broke off", nil)
		}).ServeHTTP,
		"a panic": func(w http.ResponseWriter, r *http.Request) {
			begin[r.URL.Query().Get("begin")](w)
			panic(http.ErrAbortHandler)
		},
	}
	eachProtocol(t, func(t *testing.T, http2 bool, coding string) {
		for how, h := range end {
			service := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				if r.URL.Path == "/whole" {
					io.WriteString(w, large)
					return
				}
				h(w, r)
			})
			s := start(t, wrap(t, nil, service), http2)
			for stage := range begin {
				r := request(t, "GET", s.URL+"/?begin="+strings.ReplaceAll(stage, " ", "+"), map[string]string{"Accept-Encoding": coding})
				resp, err := s.Client().Do(r)
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if err == nil {
					t.Errorf("%s after %s: the answer looks whole", how, stage)
				}
			}
			// The encoders are in order afterwards.
			resp, err := s.Client().Do(request(t, "GET", s.URL+"/whole", map[string]string{"Accept-Encoding": coding}))
			if err != nil {
				t.Fatal(err)
			}
			if got := decode(t, resp); got != large {
				t.Errorf("the answer after broken ones = %d bytes, want %d", len(got), len(large))
			}
			resp.Body.Close()
		}
	})
}

// TestBrokenAnswerOfHTTP10: where the end of the connection is that of the answer,
// that it is broken shows in what is compressed.
func TestBrokenAnswerOfHTTP10(t *testing.T) {
	for _, coding := range []string{"gzip", "zstd"} {
		s := start(t, wrap(t, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			for range 2 {
				io.WriteString(w, large)
				http.NewResponseController(w).Flush()
			}
			panic(http.ErrAbortHandler)
		})), false)
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(conn, "GET / HTTP/1.0\r\nAccept-Encoding: %s\r\n\r\n", coding)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.Header.Get("Content-Encoding") != coding {
			t.Fatalf("answer = %v, %v; want one with %s", resp.Header, err, coding)
		}
		if got, err := decoded(coding, body); err == nil {
			t.Errorf("%s: %d bytes of a broken answer look whole", coding, len(got))
		}
	}
}

// TestErrorBeforeTheAnswer: an error of a handler that has written nothing is
// answered.
func TestErrorBeforeTheAnswer(t *testing.T) {
	h := wrap(t, &compress.Options{MinSize: 1}, goapi.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("ETag", `"a"`)
		return goapi.NewError(http.StatusTeapot, strings.Repeat("short and stout ", 50), nil)
	}))
	resp := get(t, h, map[string]string{"Accept-Encoding": "gzip"})
	if body := decode(t, resp); resp.StatusCode != 418 || !strings.Contains(body, "short and stout") || resp.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("answer = %d %v %q, want the error, compressed", resp.StatusCode, resp.Header, body)
	}
}

// TestResponseController: what the writer below can do, it can do from above.
func TestResponseController(t *testing.T) {
	for _, accept := range []string{"gzip", "identity"} {
		s := start(t, wrap(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			rc := http.NewResponseController(w)
			for what, err := range map[string]error{
				"SetReadDeadline":  rc.SetReadDeadline(time.Now().Add(time.Minute)),
				"SetWriteDeadline": rc.SetWriteDeadline(time.Now().Add(time.Minute)),
				"EnableFullDuplex": rc.EnableFullDuplex(),
				"Flush":            rc.Flush(),
			} {
				if err != nil {
					t.Errorf("%s() error = %v", what, err)
				}
			}
			if _, ok := w.(http.Flusher); !ok {
				t.Error("the writer is no http.Flusher")
			}
			w.(http.Flusher).Flush()
			io.Copy(w, r.Body) // by ReadFrom
		})), false)
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL, strings.NewReader(large))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", accept)
		resp, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := decode(t, resp); got != large {
			t.Errorf("%s: body = %d bytes, want %d", accept, len(got), len(large))
		}
	}
}

// TestUpgrade: a connection that is taken over is nobody else's.
func TestUpgrade(t *testing.T) {
	s := start(t, wrap(t, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack() error = %v", err)
			return
		}
		defer conn.Close()
		line, _ := rw.ReadString('\n')
		io.WriteString(conn, line)
	})), false)
	for _, upgrade := range []string{"Upgrade: echo\r\n", ""} { // also where nothing tells it before
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: Upgrade\r\n%s\r\nhello\n", upgrade)
		br := bufio.NewReader(conn)
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Content-Encoding") != "" {
			t.Fatalf("answer = %+v, %v; want 101, as it is", resp, err)
		}
		if got, err := br.ReadString('\n'); got != "hello\n" {
			t.Errorf("echo = %q, %v; want hello", got, err)
		}
	}
}

// TestTrailersStayBehind: what comes after the body comes after it, compressed or
// not.
func TestTrailersStayBehind(t *testing.T) {
	for _, body := range []string{"small", large} {
		s := start(t, wrap(t, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("Content-Type", "text/plain")
			h.Set("Trailer", "X-Sum")
			io.WriteString(w, body)
			h.Set("X-Sum", "42")
			h.Set(http.TrailerPrefix+"X-More", "43")
		})), false)
		resp := do(t, s, "GET", map[string]string{"Accept-Encoding": "gzip"})
		if got := decode(t, resp); got != body {
			t.Errorf("body = %d bytes, want %d", len(got), len(body))
		}
		if resp.Header.Get("X-Sum") != "" || resp.Trailer.Get("X-Sum") != "42" || resp.Trailer.Get("X-More") != "43" {
			t.Errorf("header = %v, trailer = %v; want X-Sum and X-More in the trailer only", resp.Header, resp.Trailer)
		}
	}
}

// TestInterimAnswers pass at once.
func TestInterimAnswers(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	var codes []int
	below := &recording{ResponseWriter: w, codes: &codes}
	wrap(t, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusAccepted)
		w.WriteHeader(http.StatusTeapot) // too late
		io.WriteString(w, large)
	})).ServeHTTP(below, r)
	if got, want := fmt.Sprint(codes), "[103 202]"; got != want {
		t.Errorf("WriteHeader was called with %s, want %s", got, want)
	}
}

// recording keeps the statuses.
type recording struct {
	http.ResponseWriter

	codes *[]int
}

func (w *recording) WriteHeader(status int) {
	*w.codes = append(*w.codes, status)
	w.ResponseWriter.WriteHeader(status)
}

// TestForwarded: a real service behind the gateway, whose answers come in pieces.
func TestForwarded(t *testing.T) {
	goOn := make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		switch r.URL.Path {
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: 1\n\n")
			rc.Flush()
			<-goOn
		case "/lines":
			w.Header().Set("Content-Type", "application/x-ndjson")
			io.WriteString(w, "{}\n")
			rc.Flush()
			<-goOn
		case "/broken":
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, large)
			rc.Flush()
			panic(http.ErrAbortHandler)
		case "/whole":
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, large)
		}
	}))
	defer service.Close()
	rt := &goapi.Route{Service: "s", Endpoint: &goapi.Endpoint{Handler: "http"}, Upstream: upstream.Static(service.Listener.Addr().String())}
	proxy := handler.HTTP(nil)
	defer proxy.(io.Closer).Close()
	eachProtocol(t, func(t *testing.T, http2 bool, coding string) {
		gateway := start(t, goapi.With(rt, wrap(t, nil, proxy)), http2)
		open := func(path string) *http.Response {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			t.Cleanup(cancel)
			resp, err := gateway.Client().Do(request(t, "GET", gateway.URL+path, map[string]string{"Accept-Encoding": coding}).WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { resp.Body.Close() })
			return resp
		}
		events := open("/events")
		line, err := bufio.NewReader(events.Body).ReadString('\n')
		if line != "data: 1\n" || events.Header.Get("Content-Encoding") != "" {
			t.Errorf("event = %q, %v, Content-Encoding = %q; want data: 1, as it is", line, err, events.Header.Get("Content-Encoding"))
		}
		lines := open("/lines")
		line, err = bufio.NewReader(decoder(t, coding, lines.Body)).ReadString('\n')
		if line != "{}\n" || lines.Header.Get("Content-Encoding") != coding {
			t.Errorf("line = %q, %v, Content-Encoding = %q; want {}, with %s", line, err, lines.Header.Get("Content-Encoding"), coding)
		}
		goOn <- struct{}{}
		goOn <- struct{}{}
		if got := decode(t, open("/whole")); got != large {
			t.Errorf("whole answer = %d bytes, want %d", len(got), len(large))
		}
		broken := open("/broken")
		if _, err := io.ReadAll(broken.Body); err == nil {
			t.Error("an answer that the service broke off looks whole")
		}
	})
}

// TestExchange: the outer ring learns what went over the wire.
func TestExchange(t *testing.T) {
	h := wrap(t, nil, answer(http.Header{"Content-Type": {"text/plain"}}, large))
	rec := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	w, r, ex := goapi.NewExchange(rec, r)
	h.ServeHTTP(w, r)
	if ex.Status != 200 || ex.Written != int64(rec.Body.Len()) || ex.Written > int64(len(large)/10) {
		t.Errorf("Exchange = status %d, %d bytes; want 200 and the %d that were sent", ex.Status, ex.Written, rec.Body.Len())
	}
}

// TestClientIsGone: a handler learns that nobody reads.
func TestClientIsGone(t *testing.T) {
	gone := errors.New("gone")
	h := wrap(t, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		var err error
		for range 1000 {
			if _, err = io.WriteString(w, large); err != nil {
				break
			}
		}
		if !errors.Is(err, gone) {
			t.Errorf("Write() error = %v, want that the client is gone", err)
		}
	}))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	h.ServeHTTP(&failing{httptest.NewRecorder(), gone}, r)
}

// failing is a writer whose client is gone.
type failing struct {
	http.ResponseWriter

	err error
}

func (w *failing) Write([]byte) (int, error) { return 0, w.err }

// TestWriteAfterTheEnd: an encoder is never used for two answers.
func TestWriteAfterTheEnd(t *testing.T) {
	var kept http.ResponseWriter
	h := wrap(t, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, large)
		kept = w
	}))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	h.ServeHTTP(httptest.NewRecorder(), r)
	if _, err := io.WriteString(kept, "late"); err == nil {
		t.Error("Write() after the end error = nil")
	}
}

// decoder decodes a stream as it comes.
func decoder(t testing.TB, coding string, r io.Reader) io.Reader {
	t.Helper()
	if coding == "gzip" {
		zr, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		return zr
	}
	zr, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(zr.Close)
	return zr
}
