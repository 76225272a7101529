package handler_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
)

func TestSocketEchoes(t *testing.T) {
	url := serveStreams(t, memory{serve: echoes}, streamRoute(), nil)
	conn := openSocket(t, url)
	for _, msg := range []string{`{"name":"john"}`, `7`, `"é"`, "{}\n", `"` + strings.Repeat("x", 1<<20) + `"`} {
		writeText(t, conn, msg)
		if got := nextFrame(t, conn); got != "t"+msg {
			t.Errorf("message %.100q came back as %.100q", msg, got)
		}
	}
	writeText(t, conn, "") // no more
	if got := nextFrame(t, conn); got != "1000" {
		t.Errorf("end = %q, want 1000", got)
	}
}

// TestSocketTypes: what the messages are, by the handshake.
func TestSocketTypes(t *testing.T) {
	const (
		asJSON  = "application/json"
		asProto = "application/protobuf"
	)
	tests := []struct {
		name   string
		header []string
		want   string // content type
		chosen string // subprotocol
	}{
		{"default", nil, asJSON, ""},
		{"json", []string{"Subprotocol", "json"}, asJSON, "json"},
		{"protobuf", []string{"Subprotocol", "protobuf"}, asProto, "protobuf"},
		{"proto", []string{"Subprotocol", "proto"}, asProto, "proto"},
		{"binary", []string{"Subprotocol", "binary"}, asProto, "binary"},
		{"first that is known", []string{"Subprotocol", "chat", "Subprotocol", "Binary", "Subprotocol", "json"}, asProto, "Binary"},
		{"none that is known", []string{"Subprotocol", "chat"}, asJSON, ""},
		{"content type", []string{"Content-Type", "application/json; charset=utf-8"}, asJSON, ""},
		{"content type of protobuf", []string{"Content-Type", "application/x-protobuf"}, asProto, ""},
		{"subprotocol over content type", []string{"Content-Type", asProto, "Subprotocol", "json"}, asJSON, "json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			called := make(chan *client.Request, 1)
			url := serveStreams(t, memory{serve: func(ctx context.Context, c *caller) error {
				called <- c.req
				return echoes(ctx, c)
			}}, streamRoute(), nil)
			conn := openSocket(t, url, tt.header...)
			if got := conn.Subprotocol(); got != tt.chosen {
				t.Errorf("subprotocol = %q, want %q", got, tt.chosen)
			}
			got := receives(t, called, "the call")
			if got.ContentType != tt.want || got.Service != "greeter" || got.Endpoint != "Greeter.Stream" {
				t.Errorf("called %s of %s in %s, want Greeter.Stream of greeter in %s", got.Endpoint, got.Service, got.ContentType, tt.want)
			}
			kind, msg := websocket.MessageText, `{}`
			if tt.want == asProto {
				kind, msg = websocket.MessageBinary, "\x0a\x00\xff"
			}
			if err := conn.Write(limited(t), kind, []byte(msg)); err != nil {
				t.Fatal(err)
			}
			if got, want := nextFrame(t, conn), map[bool]string{true: "b", false: "t"}[tt.want == asProto]+msg; got != want {
				t.Errorf("message = %q, want %q", got, want)
			}
		})
	}
}

func TestSocketEmptyMessageOfProtobuf(t *testing.T) {
	conn := openSocket(t, serveStreams(t, memory{serve: echoes}, streamRoute(), nil), "Subprotocol", "protobuf")
	if err := conn.Write(limited(t), websocket.MessageBinary, nil); err != nil {
		t.Fatal(err)
	}
	if got := nextFrame(t, conn); got != "b" {
		t.Errorf("an empty message came back as %q", got)
	}
	writeText(t, conn, "")
	if got := nextFrame(t, conn); got != "1000" {
		t.Errorf("end = %q, want 1000", got)
	}
}

// TestSocketFirstMessage: path and query are the first message, as they are of
// a call.
func TestSocketFirstMessage(t *testing.T) {
	tests := []struct {
		name, target string
		header       []string
		typed        bool
		want         string // empty for none
		status       int    // of the handshake, if not 101
	}{
		{name: "none", target: "/hello"},
		{name: "query", target: "/hello?name=x&age=7", want: `{"age":"7","name":"x"}`},
		{name: "typed", target: "/hello?name=7&age=7", typed: true, want: `{"age":7,"name":"7"}`},
		{name: "path", target: "/hello/john", want: `{"name":"john"}`},
		{name: "query over path", target: "/hello/john?name=x", want: `{"name":"x"}`},
		{name: "no field", target: "/hello?who=x", typed: true, status: 400},
		{name: "no number", target: "/hello?age=x", typed: true, status: 400},
		{name: "protobuf", target: "/hello/john?age=7", header: []string{"Subprotocol", "protobuf"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first := make(chan string, 1)
			c := memory{serve: func(_ context.Context, c *caller) error {
				msg, err := c.next()
				first <- msg
				return err
			}}
			rt := streamRoute()
			if tt.typed {
				rt.Endpoint.Request = helloRequest()
			}
			mux := http.NewServeMux()
			rt.Pattern = ""
			mux.Handle("/hello/{name}", goapi.With(rt, handler.RPC(c, nil)))
			mux.Handle("/hello", goapi.With(rt, handler.RPC(c, nil)))
			srv := startServer(t, mux)
			conn, res, err := tryDial(t, srv+tt.target, tt.header...)
			if tt.status != 0 {
				if err == nil || res.StatusCode != tt.status {
					t.Errorf("handshake = %v %s, want %d", err, textOf(res), tt.status)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
					t.Error(err)
				}
			}
			if got := receives(t, first, "the first message"); got != tt.want {
				t.Errorf("first message = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSocketMetadata(t *testing.T) {
	called := make(chan *client.Request, 1)
	url := serveStreams(t, memory{serve: func(_ context.Context, c *caller) error {
		called <- c.req
		return nil
	}}, streamRoute(), nil)
	openSocket(t, url, "Authorization", "Bearer x", "Subprotocol", "json", "Micro-Topic", "t", "Cookie", "a=1")
	got := receives(t, called, "the call").Header
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "X-Forwarded-Host", "X-Forwarded-Proto", "Via", "User-Agent", "Accept-Encoding"} {
		delete(got, name)
	}
	if want := map[string]string{"Authorization": "Bearer x", "Cookie": "a=1"}; !maps.Equal(got, want) {
		t.Errorf("metadata = %v, want %v", got, want)
	}
}

// TestSocketEnds holds how a client learns of the end of a stream: an error is a
// message, and the code and reason of the close frame.
func TestSocketEnds(t *testing.T) {
	long := strings.Repeat("é", 200)
	tests := []struct {
		name    string
		service streamService
		message string // empty for none
		closed  string
	}{
		{"well", says(), "", "1000"},
		{"client's fault", fails(&goapi.Error{Code: 404, ID: "greeter.find", Detail: "no such person"}),
			`{"id":"greeter.find","code":404,"detail":"no such person","status":"Not Found"}`, "1008 no such person"},
		{"service's fault", fails(&goapi.Error{Code: 500, ID: "greeter", Detail: "out of order"}),
			`{"id":"greeter","code":500,"detail":"out of order","status":"Internal Server Error"}`, "1011 out of order"},
		{"busy", fails(&goapi.Error{Code: 503, ID: "greeter", Detail: "too busy"}),
			`{"id":"greeter","code":503,"detail":"too busy","status":"Service Unavailable"}`, "1013 too busy"},
		{"deadline", fails(goapi.NewError(504, "greeter did not answer in time", context.DeadlineExceeded)),
			`{"id":"goapi","code":504,"detail":"greeter did not answer in time","status":"Gateway Timeout"}`, "1011 greeter did not answer in time"},
		{"odd code", fails(&goapi.Error{Code: 7, ID: "greeter", Detail: "odd"}),
			`{"id":"greeter","code":500,"detail":"odd","status":"Internal Server Error"}`, "1011 odd"},
		{"broken off", fails(errors.New("read tcp 192.0.2.1:80: reset")),
			`{"id":"goapi","code":502,"detail":"service greeter broke off the stream","status":"Bad Gateway"}`, "1011 service greeter broke off the stream"},
		{"cancelled by the service", fails(context.Canceled),
			`{"id":"goapi","code":502,"detail":"service greeter broke off the stream","status":"Bad Gateway"}`, "1011 service greeter broke off the stream"},
		{"long reason", fails(&goapi.Error{Code: 400, ID: "greeter", Detail: long}),
			`{"id":"greeter","code":400,"detail":"` + long + `","status":"Bad Request"}`, "1008 " + long[:122]},
		{"reason that is no text", fails(&goapi.Error{Code: 400, ID: "greeter", Detail: "a\xffb"}),
			`{"id":"greeter","code":400,"detail":"a\ufffdb","status":"Bad Request"}`, "1008 a\uFFFDb"},
		{"garbage", says("{"),
			`{"id":"goapi","code":502,"detail":"service greeter was called in application/json, and answered with something else","status":"Bad Gateway"}`,
			"1011 service greeter was called in application/json, and answered with something else"},
		{"garbage that is no text", says("\"\xff\""),
			`{"id":"goapi","code":502,"detail":"service greeter was called in application/json, and answered with something else","status":"Bad Gateway"}`,
			"1011 service greeter was called in application/json, and answered with something else"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := openSocket(t, serveStreams(t, memory{serve: tt.service}, streamRoute(), nil))
			if tt.message != "" {
				if got := nextFrame(t, conn); got != "t"+tt.message {
					t.Errorf("message = %s, want %s", got, tt.message)
				}
			}
			if got := nextFrame(t, conn); got != tt.closed {
				t.Errorf("closed with %q, want %q", got, tt.closed)
			}
		})
	}
}

// TestSocketErrorOfProtobuf: among binary messages an error is the one that is
// text.
func TestSocketErrorOfProtobuf(t *testing.T) {
	conn := openSocket(t, serveStreams(t, memory{serve: func(_ context.Context, c *caller) error {
		if err := c.say("\xff\x00"); err != nil { // whatever it is
			return err
		}
		return &goapi.Error{Code: 403, ID: "greeter", Detail: "no"}
	}}, streamRoute(), nil), "Subprotocol", "binary")
	for _, want := range []string{"b\xff\x00", `t{"id":"greeter","code":403,"detail":"no","status":"Forbidden"}`, "1008 no"} {
		if got := nextFrame(t, conn); got != want {
			t.Errorf("frame = %q, want %q", got, want)
		}
	}
}

func TestSocketMessagesBeforeTheEnd(t *testing.T) {
	conn := openSocket(t, serveStreams(t, memory{serve: says("1", "2", "3")}, streamRoute(), nil))
	for _, want := range []string{"t1", "t2", "t3", "1000"} {
		if got := nextFrame(t, conn); got != want {
			t.Errorf("frame = %q, want %q", got, want)
		}
	}
}

// TestSocketHandshakes: what opens no stream reaches no service.
func TestSocketHandshakes(t *testing.T) {
	ok := http.Header{
		"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}
	tests := []struct {
		name, method, body string
		header             http.Header
		want               int
		answer             string // a header of the answer
	}{
		{"POST", "POST", "", nil, 405, "Allow: GET"},
		{"body", "GET", "{}", nil, 400, ""},
		{"no Connection", "GET", "", http.Header{"Connection": nil}, 400, ""},
		{"version", "GET", "", http.Header{"Sec-Websocket-Version": {"8"}}, 426, "Sec-Websocket-Version: 13"},
		{"no version", "GET", "", http.Header{"Sec-Websocket-Version": nil}, 426, "Upgrade: websocket"},
		{"no key", "GET", "", http.Header{"Sec-Websocket-Key": nil}, 400, ""},
		{"two keys", "GET", "", http.Header{"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAA=="}}, 400, ""},
		{"short key", "GET", "", http.Header{"Sec-Websocket-Key": {"AAAA"}}, 400, ""},
		{"no base64", "GET", "", http.Header{"Sec-Websocket-Key": {"!AAAAAAAAAAAAAAAAAAAAA=="}}, 400, ""},
		{"content type", "GET", "", http.Header{"Content-Type": {"text/plain"}}, 415, ""},
		{"form", "GET", "", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, 415, ""},
		{"json-rpc", "GET", "", http.Header{"Content-Type": {"application/json-rpc"}}, 415, ""},
		{"proto-rpc", "GET", "", http.Header{"Content-Type": {"application/proto-rpc"}}, 415, ""},
		{"two authorizations", "GET", "", http.Header{"Authorization": {"a", "b"}}, 400, ""},
		{"timeout", "GET", "", http.Header{"Grpc-Timeout": {"soon"}}, 400, ""},
		{"another origin", "GET", "", http.Header{"Origin": {"https://elsewhere.example"}}, 403, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url := serveStreams(t, memory{open: func(*registry.Node, *client.Request) error {
				t.Error("the service was called")
				return io.EOF
			}}, streamRoute(), nil)
			req, err := http.NewRequestWithContext(limited(t), tt.method, url, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			maps.Copy(req.Header, ok)
			maps.Copy(req.Header, tt.header)
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			text := textOf(res)
			if res.StatusCode != tt.want || !strings.Contains(text, `"id":"goapi"`) {
				t.Errorf("answer = %s, want %d in our form", text, tt.want)
			}
			if name, value, ok := strings.Cut(tt.answer, ": "); ok && res.Header.Get(name) != value {
				t.Errorf("answer has header %v, want %s", res.Header, tt.answer)
			}
		})
	}
}

func TestSocketOrigins(t *testing.T) {
	tests := []struct {
		origin  string // {host} is the gateway's
		allowed []string
		want    bool
	}{
		{"", nil, true},
		{"http://{host}", nil, true},
		{"https://{host}", nil, true}, // something before the gateway may end TLS
		{"http://{host}1", nil, false},
		{"http://127.0.0.1", nil, false},
		{"https://page.example", nil, false},
		{"null", nil, false},
		{"https://page.example", []string{"https://page.example"}, true},
		{"http://page.example", []string{"https://page.example"}, false},
		{"https://a.page.example", []string{"https://*.page.example"}, true},
		{"https://page.example", []string{"https://*.page.example"}, false},
		{"http://{host}", []string{"https://page.example"}, true},
		{"https://page.example", []string{"*"}, true},
		{"null", []string{"*"}, true},
		{"https://page.example", []string{"nonsense"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.origin+" "+strings.Join(tt.allowed, " "), func(t *testing.T) {
			url := serveStreams(t, memory{serve: says()}, streamRoute(), &handler.StreamOptions{Origins: tt.allowed})
			var header []string
			if tt.origin != "" {
				header = []string{"Origin", strings.ReplaceAll(tt.origin, "{host}", strings.TrimPrefix(url, "http://"))}
			}
			_, res, err := tryDial(t, url, header...)
			if got := err == nil; got != tt.want {
				t.Errorf("opened: %t, want %t: %v", got, tt.want, err)
			}
			if err != nil && (res == nil || res.StatusCode != http.StatusForbidden) {
				t.Errorf("refused with %v, want 403", err)
			}
		})
	}
}

func TestSocketClientLeaves(t *testing.T) {
	leave := map[string]func(*websocket.Conn){
		"says so":  func(c *websocket.Conn) { _ = c.Close(websocket.StatusNormalClosure, "") },
		"goes":     func(c *websocket.Conn) { _ = c.Close(websocket.StatusGoingAway, "bye") },
		"fails":    func(c *websocket.Conn) { _ = c.Close(websocket.StatusInternalError, "oh") },
		"vanishes": func(c *websocket.Conn) { _ = c.CloseNow() },
	}
	for name, leave := range leave {
		t.Run(name, func(t *testing.T) {
			gone := make(chan error, 1)
			conn := openSocket(t, serveStreams(t, memory{serve: waits(gone)}, streamRoute(), nil))
			leave(conn)
			if err := receives(t, gone, "the end of the call"); !errors.Is(err, context.Canceled) {
				t.Errorf("the call ended with %v", err)
			}
		})
	}
}

func TestSocketGatewayGoesAway(t *testing.T) {
	done := make(chan struct{})
	gone := make(chan error, 1)
	conn := openSocket(t, serveStreams(t, memory{serve: waits(gone)}, streamRoute(), &handler.StreamOptions{Done: done}))
	close(done)
	for _, want := range []string{`t{"id":"goapi","code":503,"detail":"the gateway is going away","status":"Service Unavailable"}`, "1001 the gateway is going away"} {
		if got := nextFrame(t, conn); got != want {
			t.Errorf("frame = %q, want %q", got, want)
		}
	}
	receives(t, gone, "the end of the call")
}

// TestSocketKeepsWhatIsKnown: how a stream ended is in the exchange, unless it
// ended well.
func TestSocketKeepsWhatIsKnown(t *testing.T) {
	tests := []struct {
		name    string
		service streamService
		end     func(*websocket.Conn)
		want    int // 0 for none
	}{
		{"well", says(), func(c *websocket.Conn) { nextFrame(t, c) }, 0},
		{"leaves", silent, func(c *websocket.Conn) { _ = c.Close(websocket.StatusGoingAway, "") }, 0},
		{"vanishes", silent, func(c *websocket.Conn) { _ = c.CloseNow() }, goapi.StatusClientClosedRequest},
		{"fails", fails(io.ErrUnexpectedEOF), func(c *websocket.Conn) { nextFrame(t, c) }, 502},
		{"violates", silent, func(c *websocket.Conn) { writeText(t, c, "{") }, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := goapi.With(streamRoute(), handler.RPC(memory{serve: tt.service}, nil))
			got := make(chan *goapi.Exchange, 1)
			url := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w, r, ex := goapi.NewExchange(w, r)
				h.ServeHTTP(w, r)
				got <- ex
			}))
			conn := openSocket(t, url)
			tt.end(conn)
			_ = conn.CloseNow()
			ex := receives(t, got, "the end of the stream")
			if (ex.Err != nil) != (tt.want != 0) || tt.want != 0 && goapi.Status(ex.Err) != tt.want {
				t.Errorf("error of the exchange = %v, want %d", ex.Err, tt.want)
			}
			if ex.Node == "" || ex.Attempts != 1 || ex.Upstream == 0 {
				t.Errorf("exchange = %+v, want a node, one attempt and a time", ex)
			}
		})
	}
}

// TestSocketAnswersPings: those of the client, also while the service is silent.
func TestSocketAnswersPings(t *testing.T) {
	gone := make(chan error, 1)
	conn, br := rawSocket(t, serveStreams(t, memory{serve: waits(gone)}, streamRoute(), nil))
	if _, err := io.WriteString(conn, clientFrame(0x89, "hello")); err != nil {
		t.Fatal(err)
	}
	first, payload, err := readServerFrame(br)
	if err != nil || first != 0x8A || !bytes.Equal(payload, []byte("hello")) {
		t.Errorf("answer to a ping = %x %q, %v; want the pong", first, payload, err)
	}
	_ = conn.Close()
	receives(t, gone, "the end of the call")
}
