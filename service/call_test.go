package service_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/apipb"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/service"
)

type helloRequest struct {
	Name string `json:"name"`
}

type helloResponse struct {
	Message string `json:"message"`
}

func hello(_ context.Context, req *helloRequest) (*helloResponse, error) {
	return &helloResponse{Message: "hello " + req.Name}, nil
}

// fail fails in the way that it is asked to.
func fail(ctx context.Context, req *helloRequest) (*helloResponse, error) {
	switch req.Name {
	case "teapot":
		return nil, &goapi.Error{Code: 418, ID: "teapot", Detail: "short\nand stout"}
	case "nobody":
		return nil, &goapi.Error{Code: 404, Detail: "nobody"}
	case "late":
		return nil, goapi.NewError(409, "too late", errors.New("the cause"))
	case "plain":
		return nil, errors.New("a plain\r\nerror\x7f")
	case "empty":
		return nil, errors.New("")
	case "long":
		return nil, errors.New(strings.Repeat("é", 1<<20))
	case "panic":
		panic("at the disco") //nolint:forbidigo // what is tested
	case "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, nil //nolint:nilnil // what is tested: an empty message
}

// mixin is a method of generated messages.
func mixin(_ context.Context, req *apipb.Mixin) (*apipb.Mixin, error) {
	return &apipb.Mixin{Name: "hello " + req.GetName(), Root: req.GetRoot()}, nil
}

// metadata answers with what the call carries.
func metadata(ctx context.Context, req *helloRequest) (*helloResponse, error) {
	return &helloResponse{Message: service.Header(ctx).Get(req.Name)}, nil
}

// newGreeter returns a service with all methods, on a server.
func newGreeter(t testing.TB, opts *service.Options) *registry.Node {
	t.Helper()
	s := service.New("greeter", opts)
	s.Handle("Greeter.Hello", service.Method(hello), nil)
	s.Handle("Greeter.Fail", service.Method(fail), nil)
	s.Handle("Greeter.Mixin", service.Method(mixin), nil)
	s.Handle("Greeter.Metadata", service.Method(metadata), nil)
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return &registry.Node{ID: "greeter-1", Address: srv.Listener.Addr().String()}
}

// call calls as the gateway does.
func call(t *testing.T, n *registry.Node, endpoint, contentType, body string) (string, error) {
	t.Helper()
	m := client.NewMicro(nil)
	defer func() { _ = m.Close() }() // says nothing
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	res, err := m.Call(ctx, n, &client.Request{
		Service: "greeter", Endpoint: endpoint, ContentType: contentType, Body: []byte(body),
		Header: map[string]string{"X-Tenant": "a"},
	})
	if err != nil {
		return "", err
	}
	return string(res.Body), nil
}

func TestCalls(t *testing.T) {
	tests := []struct{ name, endpoint, contentType, body, want string }{
		{"json", "Greeter.Hello", "application/json", `{"name":"john"}`, `{"message":"hello john"}` + "\n"},
		{"json empty", "Greeter.Hello", "application/json", "", `{"message":"hello "}` + "\n"},
		{"json unknown field", "Greeter.Hello", "application/json", `{"nosuch":1}`, `{"message":"hello "}` + "\n"},
		{"json-rpc", "Greeter.Hello", "application/json-rpc", `{"name":"john"}`, `{"message":"hello john"}`},
		{"nil answer", "Greeter.Fail", "application/json", "{}", `{"message":""}` + "\n"},
		{"metadata", "Greeter.Metadata", "application/json", `{"name":"X-Tenant"}`, `{"message":"a"}` + "\n"},
		{"protobuf", "Greeter.Mixin", "application/protobuf", "\n\x04john", "\n\nhello john"},
		{"protobuf empty", "Greeter.Mixin", "application/protobuf", "", "\n\x06hello "},
		{"proto-rpc", "Greeter.Mixin", "application/proto-rpc", "\n\x04john", "\n\nhello john"},
		{"proto as json", "Greeter.Mixin", "application/json", `{"name":"john"}`, `{"name":"hello john"}` + "\n"},
	}
	n := newGreeter(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := call(t, n, tt.endpoint, tt.contentType, tt.body)
			got = strings.ReplaceAll(got, `": "`, `":"`) // protojson puts spaces at random
			if err != nil || got != tt.want {
				t.Errorf("Call = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name, endpoint, contentType, body string
		code                              int
		id, detail                        string
	}{
		{"own", "Greeter.Fail", "application/json", `{"name":"teapot"}`, 418, "teapot", "short\nand stout"},
		{"own json-rpc", "Greeter.Fail", "application/json-rpc", `{"name":"teapot"}`, 418, "teapot", "short\nand stout"},
		{"without id", "Greeter.Fail", "application/json", `{"name":"nobody"}`, 404, "greeter", "nobody"},
		{"of NewError", "Greeter.Fail", "application/json", `{"name":"late"}`, 409, "greeter", "too late"},
		{"plain", "Greeter.Fail", "application/json", `{"name":"plain"}`, 500, "greeter", "a plain  error"},
		{"empty", "Greeter.Fail", "application/json", `{"name":"empty"}`, 500, "greeter", "unknown error"},
		{"long", "Greeter.Fail", "application/json", `{"name":"long"}`, 500, "greeter", strings.Repeat("é", 4096) + " …"},
		{"panic", "Greeter.Fail", "application/json", `{"name":"panic"}`, 500, "greeter", "the method failed"},
		{"unknown method", "Greeter.Nope", "application/json", "{}", 404, "greeter", "rpc: can't find method Nope"},
		{"unknown type", "Nope.Hello", "application/json", "{}", 404, "greeter", "rpc: can't find service Nope"},
		{"ill-formed", "Hello", "application/json", "{}", 400, "greeter", "rpc: service/endpoint request ill-formed: Hello"},
		{"two dots", "a.b.c", "application/json", "{}", 400, "greeter", "rpc: service/endpoint request ill-formed: a.b.c"},
		{"no json", "Greeter.Hello", "application/json", "no", 400, "greeter", "the message cannot be read: invalid character 'o' in literal null (expecting 'u')"},
		{"wrong type", "Greeter.Hello", "application/json", `{"name":1}`, 400, "greeter", ""},
		{"proto unknown field", "Greeter.Mixin", "application/json", `{"nosuch":1}`, 400, "greeter", ""},
		{"no protobuf", "Greeter.Mixin", "application/protobuf", "\xff", 400, "greeter", ""},
		{"protobuf for json", "Greeter.Hello", "application/protobuf", "", 415, "greeter", "this method takes JSON only; send application/json"},
		{"too large", "Greeter.Hello", "application/json", `{"name":"` + strings.Repeat("x", 1024) + `"}`, 413, "greeter", "the message is larger than 1024 bytes"},
	}
	n := newGreeter(t, &service.Options{MaxRequest: 1024})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := call(t, n, tt.endpoint, tt.contentType, tt.body)
			var e *goapi.Error
			if !errors.As(err, &e) || e.Code != tt.code || e.ID != tt.id || tt.detail != "" && e.Detail != tt.detail {
				t.Errorf("Call = %q, %v, want %s: %d %s", got, err, tt.id, tt.code, tt.detail)
			}
		})
	}
}

func TestTimeoutReachesTheMethod(t *testing.T) {
	n := newGreeter(t, nil)
	r := post(t, n, map[string]string{"Content-Type": "application/json", "Micro-Endpoint": "Greeter.Fail", "Timeout": "1000000"}, `{"name":"slow"}`)
	if got := r.Header.Get("Micro-Error"); got != "context deadline exceeded" {
		t.Errorf("Micro-Error = %q, want context deadline exceeded", got)
	}
}

// What is answered to each form of a request, as curl got it of v6.
func TestForms(t *testing.T) {
	const (
		jsonType = "application/json"
		answer   = `{"message":"hello curl"}` + "\n"
	)
	tests := []struct {
		name     string
		header   map[string]string
		body     string
		wantType string
		want     string
		wantErr  string
	}{
		{"endpoint", map[string]string{"Content-Type": jsonType, "Micro-Endpoint": "Greeter.Hello"}, `{"name":"curl"}`, jsonType, answer, ""},
		{"method", map[string]string{"Content-Type": jsonType, "Micro-Method": "Greeter.Hello"}, `{"name":"curl"}`, jsonType, answer, ""},
		{"old", map[string]string{"Content-Type": jsonType, "X-Micro-Service": "greeter", "X-Micro-Endpoint": "Greeter.Hello"}, `{"name":"curl"}`, jsonType, answer, ""},
		{"parameters", map[string]string{"Content-Type": "application/json; charset=utf-8", "Micro-Endpoint": "Greeter.Hello"}, `{"name":"curl"}`, jsonType, answer, ""},
		{"no names", map[string]string{"Content-Type": jsonType}, `{"name":"curl"}`, jsonType, `{"id":"","result":null,"error":"rpc: service/endpoint request ill-formed:"}`, "rpc: service/endpoint request ill-formed:"},
		{"json-rpc by its body", map[string]string{"Content-Type": jsonType}, `{"id":1,"method":"Greeter.Hello","params":[{"name":"curl"}]}`, jsonType, `{"id":"1","result":{"message":"hello curl"},"error":null}`, ""},
		{"proto-rpc by its body", map[string]string{"Content-Type": "application/protobuf"}, "\x00\x00\x00\x0f\n\rGreeter.Mixin\x00\x00\x00\x06\n\x04john", "application/protobuf", "\x00\x00\x00\x0f\n\rGreeter.Mixin\x00\x00\x00\x0c\n\nhello john", ""},
		{"protobuf by default", map[string]string{"Micro-Endpoint": "Greeter.Mixin"}, "\n\x04john", "application/protobuf", "\n\nhello john", ""},
		{"text", map[string]string{"Content-Type": "text/plain", "Micro-Endpoint": "Greeter.Hello"}, "", "text/plain", "unsupported Content-Type: text/plain", ""},
		{"no frame", map[string]string{"Content-Type": "application/json-rpc", "Micro-Endpoint": "Greeter.Hello"}, "{", "application/json-rpc", `{"id":"","result":null,"error":"{\"id\":\"greeter\",\"code\":400,\"detail\":\"the body is not application/json-rpc\",\"status\":\"Bad Request\"}"}`, `{"id":"greeter","code":400,"detail":"the body is not application/json-rpc","status":"Bad Request"}`},
		{"event", map[string]string{"Content-Type": jsonType, "Micro-Topic": "t", "Micro-Endpoint": "Greeter.Hello"}, "{}", jsonType, "", `{"id":"greeter","code":501,"detail":"greeter takes no events","status":"Not Implemented"}`},
		{"stream", map[string]string{"Content-Type": jsonType, "Micro-Stream": "1", "Micro-Endpoint": "Greeter.Hello"}, "{}", jsonType, "", `{"id":"greeter","code":501,"detail":"Greeter.Hello is no stream; call it","status":"Not Implemented"}`},
	}
	n := newGreeter(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := post(t, n, tt.header, tt.body)
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != tt.wantType || string(body) != tt.want {
				t.Errorf("answer = %d %s %q, want 200 %s %q", r.StatusCode, r.Header.Get("Content-Type"), body, tt.wantType, tt.want)
			}
			if got := r.Header.Get("Micro-Error"); got != tt.wantErr || got != r.Header.Get("X-Micro-Error") {
				t.Errorf("Micro-Error = %q and %q, want %q", got, r.Header.Get("X-Micro-Error"), tt.wantErr)
			}
		})
	}
}

// Clients of v1 find their call by the id in either form.
func TestAnswersNameTheCall(t *testing.T) {
	n := newGreeter(t, nil)
	r := post(t, n, map[string]string{
		"Content-Type": "application/json", "Micro-Service": "greeter", "Micro-Endpoint": "Greeter.Hello", "Micro-Method": "Greeter.Hello",
		"Micro-Id": "7", "Authorization": "secret",
	}, "{}")
	for name, want := range map[string]string{
		"Micro-Service": "greeter", "Micro-Endpoint": "Greeter.Hello", "Micro-Method": "Greeter.Hello",
		"Micro-Id": "7", "X-Micro-Id": "7", "Authorization": "",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

// post sends a request as it stands.
func post(t *testing.T, n *registry.Node, header map[string]string, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+n.Address+"/any/path", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	tr := new(http.Transport)
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = res.Body.Close() // it was read
		tr.CloseIdleConnections()
	})
	return res
}

func TestPanicIsLogged(t *testing.T) {
	var logged strings.Builder
	n := newGreeter(t, &service.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if _, err := call(t, n, "Greeter.Fail", "application/json", `{"name":"panic"}`); goapi.Status(err) != 500 {
		t.Errorf("Call error = %v, want 500", err)
	}
	if got := logged.String(); !strings.Contains(got, "at the disco") || !strings.Contains(got, "Greeter.Fail") {
		t.Errorf("log = %s, want the panic and its method", got)
	}
}

func TestHeaderOutsideOfACall(t *testing.T) {
	if h := service.Header(t.Context()); h != nil {
		t.Errorf("Header = %v, want nil", h)
	}
}

// Nothing that is sent brings the service down, and all that is answered is
// whole: an error or a message, never both.
func FuzzServeHTTP(f *testing.F) {
	f.Add("application/json", "Greeter.Hello", []byte(`{"name":"john"}`))
	f.Add("application/json", "", []byte(`{"id":1,"method":"Greeter.Hello","params":[{"name":"curl"}]}`))
	f.Add("application/json-rpc", "Greeter.Fail", []byte(`{"id":"1","params":[{"name":"panic"}]}`))
	f.Add("application/protobuf", "", []byte("\x00\x00\x00\x0f\n\rGreeter.Mixin\x00\x00\x00\x06\n\x04john"))
	f.Add("application/proto-rpc", "Greeter.Mixin", []byte("\x00\x00\x00\x00"))
	f.Add("application/protobuf", "Greeter.Mixin", []byte("\n\x04john"))
	s := service.New("greeter", nil)
	s.Handle("Greeter.Hello", service.Method(hello), nil)
	s.Handle("Greeter.Mixin", service.Method(mixin), nil)
	f.Fuzz(func(t *testing.T, contentType, endpoint string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", contentType)
		if endpoint != "" {
			r.Header.Set("Micro-Endpoint", endpoint)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		failed := w.Header().Get("Micro-Error") != ""
		if w.Code != http.StatusOK || failed && contentType == "application/json" && endpoint != "" && w.Body.Len() > 0 {
			t.Fatalf("answer = %d %v %q", w.Code, w.Header(), w.Body)
		}
		if endpoint == "Greeter.Hello" && contentType == "application/json" && !failed && !strings.HasPrefix(w.Body.String(), `{"message":"hello `) {
			t.Fatalf("answer = %q, want a message", w.Body)
		}
	})
}

func BenchmarkServeHTTP(b *testing.B) {
	s := service.New("greeter", nil)
	s.Handle("Greeter.Hello", service.Method(hello), nil)
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"name":"john"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Micro-Endpoint", "Greeter.Hello")
		s.ServeHTTP(httptest.NewRecorder(), r)
	}
}
