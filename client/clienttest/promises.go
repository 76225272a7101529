package clienttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
)

func promises() []promise {
	return []promise{
		{"CallsEcho", callsEcho},
		{"CallsWithEmptyMessage", callsWithEmptyMessage},
		{"NamesServiceAndMethod", namesServiceAndMethod},
		{"CarriesMetadata", carriesMetadata},
		{"DropsReserved", dropsReserved},
		{"DropsInvalidMetadata", dropsInvalidMetadata},
		{"RefusesInvalidNames", refusesInvalidNames},
		{"UnknownContentTypeIs415", unknownContentTypeIs415},
		{"KeepsServiceError", keepsServiceError},
		{"PlainErrorIs500", plainErrorIs500},
		{"UnknownMethodIs404", unknownMethodIs404},
		{"UndecodableIs400", undecodableIs400},
		{"ConcurrentCalls", concurrentCalls},
		{"BoundsReply", boundsReply},
		{"DeadlineTravels", deadlineTravels},
		{"DeadlineIs504", deadlineIs504},
		{"NoDeadlineIsBounded", noDeadlineIsBounded},
		{"CancelReturnsContextError", cancelReturnsContextError},
		{"DoneContextIsNotSent", doneContextIsNotSent},
		{"CallsSent", callsSent},
		{"UnreachableIsNotSent", unreachableIsNotSent},
		{"RefusedDialIsNotSent", refusedDialIsNotSent},
		{"SilentConnectIsBounded", silentConnectIsBounded},
		{"LostAnswerIsSent", lostAnswerIsSent},
		{"GarbageIsNoAnswer", garbageIsNoAnswer},
		{"CallsOverTLS", callsOverTLS},
		{"VerifiesTLS", verifiesTLS},
	}
}

func callsEcho(e *env) error {
	n := e.Serve(e.TB, nil, echo)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	bodies := map[string][]byte{
		contentJSON:  []byte(`{"name":"jöhn","big":9007199254740993,"tag":"<b>"}`),
		contentProto: bytes.Repeat(all, 1024),
	}
	for contentType, body := range bodies {
		req := request()
		req.ContentType, req.Body = contentType, body
		res, err := e.call(e.Context(), n, req)
		if err != nil {
			return fmt.Errorf("Call of %s error = %w", contentType, err)
		}
		if res.ContentType != contentType || !bytes.Equal(res.Body, body) {
			return fmt.Errorf("Call of %s = %s and %d bytes, want the request's %d bytes", contentType, res.ContentType, len(res.Body), len(body))
		}
	}
	return nil
}

func callsWithEmptyMessage(e *env) error {
	req := request()
	req.ContentType, req.Body = contentProto, nil
	res, err := e.call(e.Context(), e.Serve(e.TB, nil, echo), req)
	if err != nil || len(res.Body) != 0 {
		return fmt.Errorf("Call = %v, %w, want an empty answer", res, err)
	}
	return nil
}

func namesServiceAndMethod(e *env) error {
	var seen recorder
	if _, err := e.call(e.Context(), e.Serve(e.TB, nil, seen.serve), request()); err != nil {
		return fmt.Errorf("Call error = %w", err)
	}
	if got := seen.call(); got.Endpoint != hello || got.Service != service && got.Service != "" || got.ContentType != contentJSON {
		return fmt.Errorf("the service saw %s of %q in %s, want %s of %q in %s",
			got.Endpoint, got.Service, got.ContentType, hello, service, contentJSON)
	}
	return nil
}

func carriesMetadata(e *env) error {
	var seen recorder
	metadata := map[string]string{"X-Tenant": "a, b", "authorization": "Bearer 1", "Cookie": "a=1; b=2", "Idempotency-Key": "k"}
	req := request()
	req.Header = maps.Clone(metadata)
	if _, err := e.call(e.Context(), e.Serve(e.TB, nil, seen.serve), req); err != nil {
		return fmt.Errorf("Call error = %w", err)
	}
	for name, want := range metadata {
		if got := seen.metadata(name); got != want {
			return fmt.Errorf("the service saw %s = %q, want %q", name, got, want)
		}
	}
	return nil
}

// metadata returns a value of the last call, whatever the case of its name.
func (r *recorder) metadata(name string) string {
	for k, v := range r.call().Header {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// What services obey, and what would break the connection or the answer.
func dropsReserved(e *env) error {
	const evil = "evil"
	req := request()
	req.Header = map[string]string{"X-Good": "good"}
	for _, name := range []string{
		"Micro-Service", "Micro-Endpoint", "micro-method", "Micro-Id", "Micro-Topic", "Micro-Stream", "Micro-Error", "Micro-Namespace",
		"X-Micro-Endpoint", "x-micro-topic", "X-Micro-Error", "Timeout", "Grpc-Timeout", "grpc-encoding",
		"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
		"Content-Type", "Content-Length", "Content-Encoding", "Accept", "Accept-Encoding", "Expect", "Host", "Proxy",
	} {
		req.Header[name] = evil
	}
	var seen recorder
	ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
	defer cancel()
	if _, err := e.call(ctx, e.Serve(e.TB, nil, seen.serve), req); err != nil {
		return fmt.Errorf("Call error = %w", err)
	}
	for name, value := range seen.call().Header {
		if strings.Contains(value, evil) {
			return fmt.Errorf("the service saw %s = %q, which is not the caller's to set", name, value)
		}
	}
	if got := seen.metadata("X-Good"); got != "good" {
		return fmt.Errorf("the service saw X-Good = %q, want %q", got, "good")
	}
	return nil
}

func dropsInvalidMetadata(e *env) error {
	var seen recorder
	req := request()
	req.Header = map[string]string{
		"X-Good": "good", "": "empty", "a b": "space", "x:y": "colon", ":path": "/evil", "a\r\nMicro-Topic": "t",
		"X-Split": "a\r\nMicro-Topic: t", "X-Null": "a\x00b", "Bad-Bin": "\x00 not base64",
	}
	if _, err := e.call(e.Context(), e.Serve(e.TB, nil, seen.serve), req); err != nil {
		return fmt.Errorf("Call error = %w, want what cannot travel dropped", err)
	}
	if topic, good := seen.metadata("Micro-Topic"), seen.metadata("X-Good"); topic != "" || good != "good" {
		return fmt.Errorf("the service saw Micro-Topic = %q, X-Good = %q, want only the second", topic, good)
	}
	return nil
}

func refusesInvalidNames(e *env) error {
	n := e.Serve(e.TB, nil, echo)
	for _, name := range []string{"", "Greeter.Hello\r\nMicro-Topic: t", "Greeter.\x00"} {
		var sent bool
		req := request()
		req.Endpoint, req.Sent = name, func() { sent = true }
		if _, err := e.call(e.Context(), n, req); !isStatus(err, http.StatusBadRequest, http.StatusNotFound) || sent {
			return fmt.Errorf("Call of %q error = %w, sent = %t, want 400 or 404 and nothing sent", name, err, sent)
		}
	}
	return nil
}

func unknownContentTypeIs415(e *env) error {
	req := request()
	req.ContentType = "text/html"
	if _, err := e.call(e.Context(), e.Serve(e.TB, nil, echo), req); !isStatus(err, http.StatusUnsupportedMediaType) {
		return fmt.Errorf("Call of text/html error = %w, want 415", err)
	}
	return nil
}

// isStatus says that err is a *goapi.Error with one of the codes.
func isStatus(err error, codes ...int) bool {
	var known *goapi.Error
	return errors.As(err, &known) && slices.Contains(codes, known.Code)
}

func keepsServiceError(e *env) error {
	for _, code := range []int{400, 401, 403, 404, 408, 409, 412, 418, 429, 500, 501, 503, 504} {
		want := &goapi.Error{Code: code, ID: "greeter.fail", Detail: fmt.Sprintf("no \"%d\", sörry: a; b", code)}
		n := e.Serve(e.TB, nil, func(context.Context, *Call) ([]byte, error) { return nil, want })
		_, err := e.call(e.Context(), n, request())
		var got *goapi.Error
		if !errors.As(err, &got) {
			return fmt.Errorf("Call error = %w, want the service's", err)
		}
		if got.Code != want.Code || got.ID != want.ID || got.Detail != want.Detail {
			return fmt.Errorf("Call error = %w, want %w", got, want)
		}
	}
	return nil
}

func plainErrorIs500(e *env) error {
	n := e.Serve(e.TB, nil, func(context.Context, *Call) ([]byte, error) { return nil, errors.New("a plain error") })
	_, err := e.call(e.Context(), n, request())
	var got *goapi.Error
	if !errors.As(err, &got) || got.Code != http.StatusInternalServerError || got.Detail != "a plain error" || got.ID != service {
		return fmt.Errorf("Call error = %w, want 500 with the text and the service's name", err)
	}
	return nil
}

func unknownMethodIs404(e *env) error {
	req := request()
	req.Endpoint = "Greeter.Nope"
	if _, err := e.call(e.Context(), e.Serve(e.TB, nil, echo), req); !isStatus(err, http.StatusNotFound) {
		return fmt.Errorf("Call error = %w, want 404", err)
	}
	return nil
}

func undecodableIs400(e *env) error {
	n := e.Serve(e.TB, nil, func(context.Context, *Call) ([]byte, error) { return nil, ErrNoMessage })
	if _, err := e.call(e.Context(), n, request()); !isStatus(err, http.StatusBadRequest) {
		return fmt.Errorf("Call error = %w, want 400", err)
	}
	return nil
}

func concurrentCalls(e *env) error {
	const callers, calls = 16, 20
	nodes := []*registry.Node{e.Serve(e.TB, nil, echo), e.Serve(e.TB, nil, echo)}
	c := e.Caller(e.TB, nil)
	var g errgroup.Group
	for i := range callers {
		g.Go(func() error {
			for j := range calls {
				req := request()
				req.Body = fmt.Appendf(nil, `{"name":"%d of %d"}`, j, i)
				res, err := c.Call(e.Context(), nodes[j%2], req)
				if err != nil {
					return fmt.Errorf("Call error = %w", err)
				}
				if !bytes.Equal(res.Body, req.Body) {
					return fmt.Errorf("Call of %s = %s: another call's answer", req.Body, res.Body)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func boundsReply(e *env) error {
	const limit = 2048
	n := e.Serve(e.TB, nil, echo)
	c := e.Caller(e.TB, &client.Options{MaxReply: limit})
	for size, want := range map[int]int{limit: 0, limit + 1: http.StatusBadGateway, 64 * limit: http.StatusBadGateway} {
		req := request()
		req.ContentType, req.Body = contentProto, make([]byte, size)
		res, err := c.Call(e.Context(), n, req)
		switch {
		case want != 0 && !isStatus(err, want):
			return fmt.Errorf("Call answered with %d bytes error = %w, want %d", size, err, want)
		case want != 0 && !errors.Is(err, client.ErrReplyTooLarge):
			return fmt.Errorf("Call answered with %d bytes error = %w, want ErrReplyTooLarge", size, err)
		case want == 0 && (err != nil || len(res.Body) != size):
			return fmt.Errorf("Call answered with %d bytes error = %w, want none", size, err)
		}
	}
	return nil
}
