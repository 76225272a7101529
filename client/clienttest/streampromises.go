package clienttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
)

func streamPromises() []promise {
	return []promise{
		{"StreamsEcho", streamsEcho},
		{"StreamsEmptyMessages", streamsEmptyMessages},
		{"StreamsFromService", streamsFromService},
		{"StreamsToService", streamsToService},
		{"StreamsUnpaired", streamsUnpaired},
		{"StreamsBothWaysAtOnce", streamsBothWaysAtOnce},
		{"StreamsAreApart", streamsAreApart},
		{"StreamOpensAsCallsDo", streamOpensAsCallsDo},
		{"StreamKeepsNothingOfMessage", streamKeepsNothingOfMessage},
		{"StreamRefusesAsCallsDo", streamRefusesAsCallsDo},
		{"StreamKeepsServiceError", streamKeepsServiceError},
		{"StreamPlainErrorIs500", streamPlainErrorIs500},
		{"StreamUnknownMethodIs404", streamUnknownMethodIs404},
		{"StreamBoundsMessage", streamBoundsMessage},
		{"StreamSendIsOver", streamSendIsOver},
		{"StreamCloseSendTwice", streamCloseSendTwice},
		{"StreamOverTLS", streamOverTLS},
		{"StreamVerifiesTLS", streamVerifiesTLS},
		{"StreamDeadlineTravels", streamDeadlineTravels},
		{"StreamDeadlineIs504", streamDeadlineIs504},
		{"StreamOutlivesTimeout", streamOutlivesTimeout},
		{"StreamCancelReachesService", streamCancelReachesService},
		{"StreamCloseReachesService", streamCloseReachesService},
		{"StreamCloseEndsRecv", streamCloseEndsRecv},
		{"StreamCloseEndsSend", streamCloseEndsSend},
		{"StreamSendBlocks", streamSendBlocks},
		{"StreamServiceBlocks", streamServiceBlocks},
		{"StreamCallsSent", streamCallsSent},
		{"StreamDoneContextIsNotSent", streamDoneContextIsNotSent},
		{"StreamUnreachableIsNotSent", streamUnreachableIsNotSent},
		{"StreamRefusedDialIsNotSent", streamRefusedDialIsNotSent},
		{"StreamSilentConnectIsBounded", streamSilentConnectIsBounded},
		{"StreamGarbageBreaksOff", streamGarbageBreaksOff},
		{"StreamLostNodeBreaksOff", streamLostNodeBreaksOff},
	}
}

func streamsEcho(e *env) error {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	bodies := map[string][]byte{
		contentJSON:  []byte(`{"name":"jöhn","big":9007199254740993,"tag":"<b>"}`),
		contentProto: bytes.Repeat(all, 1024),
	}
	n := e.streams.ServeStream(e.TB, nil, echoStream)
	for contentType, body := range bodies {
		req := request()
		req.ContentType = contentType
		s, err := e.openAs(e.Context(), nil, n, req)
		if err != nil {
			return err
		}
		for range 3 {
			if err := s.Send(body); err != nil {
				return fmt.Errorf("stream.Send error = %w", err)
			}
			if got, err := s.Recv(); err != nil || !bytes.Equal(got, body) {
				return fmt.Errorf("stream.Recv = %d bytes, %w, want the %d that were sent", len(got), err, len(body))
			}
		}
	}
	return nil
}

// An empty message is one, of protobuf.
func streamsEmptyMessages(e *env) error {
	req := request()
	req.ContentType = contentProto
	s, err := e.openAs(e.Context(), nil, e.streams.ServeStream(e.TB, nil, echoStream), req)
	if err != nil {
		return err
	}
	return errors.Join(sendAll(s, "", "\x08\x01", ""), wants(s, "", "\x08\x01", ""))
}

func streamsFromService(e *env) error {
	s, err := e.serveAndOpen(nil, func(_ context.Context, _ *Call, s ServerStream) error {
		first, err := s.Recv()
		if err != nil {
			return err
		}
		for i := range 3 {
			if err := s.Send(fmt.Appendf(nil, `{"n":%d,"of":%s}`, i, first)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(sendAll(s, "3"), wants(s, `{"n":0,"of":3}`, `{"n":1,"of":3}`, `{"n":2,"of":3}`), wantsEnd(s))
}

// The service reads all and then sends; it need not say that it has ended.
func streamsToService(e *env) error {
	s, err := e.serveAndOpen(&client.Options{StreamIdle: soon}, func(_ context.Context, _ *Call, s ServerStream) error {
		var all []byte
		for {
			msg, err := s.Recv()
			if errors.Is(err, io.EOF) {
				return s.Send(fmt.Appendf(nil, "[%s]", bytes.Trim(all, ",")))
			}
			if err != nil {
				return err
			}
			all = append(append(all, msg...), ',')
		}
	})
	if err != nil {
		return err
	}
	if err := sendAll(s, "1", "2", "3"); err != nil {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return fmt.Errorf("stream.CloseSend error = %w", err)
	}
	if err := s.Send([]byte("4")); !errors.Is(err, client.ErrStreamOver) {
		return fmt.Errorf("stream.Send after CloseSend error = %w, want %w", err, client.ErrStreamOver)
	}
	return errors.Join(wants(s, "[1,2,3]"), wantsEnd(s))
}

// A service may speak first, and say nothing to most of what it hears.
func streamsUnpaired(e *env) error {
	s, err := e.serveAndOpen(nil, func(_ context.Context, _ *Call, s ServerStream) error {
		if err := s.Send([]byte(`"welcome"`)); err != nil {
			return err
		}
		for range 3 {
			if _, err := s.Recv(); err != nil {
				return err
			}
		}
		return errors.Join(s.Send([]byte(`"three"`)), s.Send([]byte(`"bye"`)))
	})
	if err != nil {
		return err
	}
	return errors.Join(wants(s, `"welcome"`), sendAll(s, "1", "2", "3"), wants(s, `"three"`, `"bye"`), wantsEnd(s))
}

func streamsBothWaysAtOnce(e *env) error {
	const messages = 500
	s, err := e.serveAndOpen(nil, func(_ context.Context, _ *Call, s ServerStream) error {
		var g errgroup.Group
		g.Go(func() error { return countTo(messages, s.Send) })
		g.Go(func() error { return countFrom(messages, s.Recv) })
		return g.Wait()
	})
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.Go(func() error { return countTo(messages, s.Send) })
	g.Go(func() error { return countFrom(messages, s.Recv) })
	return errors.Join(g.Wait(), wantsEnd(s))
}

// countTo sends numbers.
func countTo(n int, send func([]byte) error) error {
	for i := range n {
		if err := send(fmt.Appendf(nil, "%d", i)); err != nil {
			return fmt.Errorf("stream.Send of message %d error = %w", i, err)
		}
	}
	return nil
}

// countFrom receives what countTo sends.
func countFrom(n int, recv func() ([]byte, error)) error {
	for i := range n {
		if got, err := recv(); err != nil || string(got) != fmt.Sprint(i) {
			return fmt.Errorf("stream.Recv = %q, %w, want %d", got, err, i)
		}
	}
	return nil
}

func streamsAreApart(e *env) error {
	const streams, messages = 16, 20
	n := e.streams.ServeStream(e.TB, nil, echoStream)
	streamer, ok := e.Caller(e.TB, nil).(client.Streamer)
	if !ok {
		return errors.New("the caller is no client.Streamer")
	}
	var g errgroup.Group
	for i := range streams {
		g.Go(func() error {
			s, err := streamer.Stream(e.Context(), n, request())
			if err != nil {
				return fmt.Errorf("opening a stream: error = %w", err)
			}
			defer s.Close()
			for j := range messages {
				msg := fmt.Sprintf(`"%d of %d"`, j, i)
				if err := errors.Join(sendAll(s, msg), wants(s, msg)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func streamOpensAsCallsDo(e *env) error {
	calls := make(chan Call, 1)
	n := e.streams.ServeStream(e.TB, nil, func(_ context.Context, c *Call, _ ServerStream) error {
		calls <- *c
		return nil
	})
	req := request()
	req.Header = map[string]string{"X-Tenant": "a, b", "Micro-Topic": "evil", "Timeout": "evil", "X-Split": "a\r\nX-Evil: evil"}
	s, err := e.openAs(e.Context(), nil, n, req)
	if err != nil {
		return err
	}
	if err := wantsEnd(s); err != nil {
		return err
	}
	got := <-calls
	if got.Endpoint != hello || got.Service != service && got.Service != "" || got.ContentType != contentJSON {
		return fmt.Errorf("the service saw %s of %q in %s, want %s of %q in %s",
			got.Endpoint, got.Service, got.ContentType, hello, service, contentJSON)
	}
	var tenant string
	for name, value := range got.Header {
		if strings.Contains(value, "evil") {
			return fmt.Errorf("the service saw %s = %q, which is not the caller's to set", name, value)
		}
		if strings.EqualFold(name, "X-Tenant") {
			tenant = value
		}
	}
	if tenant != "a, b" {
		return fmt.Errorf("the service saw X-Tenant = %q, want %q", tenant, "a, b")
	}
	return nil
}

func streamKeepsNothingOfMessage(e *env) error {
	s, err := e.serveAndOpen(nil, echoStream)
	if err != nil {
		return err
	}
	const size, messages = 16 << 10, 8
	buf := make([]byte, size)
	for i := range messages {
		for j := range buf {
			buf[j] = '0' + byte(i)
		}
		if err := s.Send(buf); err != nil {
			return fmt.Errorf("stream.Send error = %w", err)
		}
		clear(buf)
	}
	for i := range messages {
		if err := wants(s, strings.Repeat(fmt.Sprint(i), size)); err != nil {
			return fmt.Errorf("message %d is not what was sent: %d bytes", i, len(err.Error()))
		}
	}
	return nil
}

func streamRefusesAsCallsDo(e *env) error {
	n := e.streams.ServeStream(e.TB, nil, echoStream)
	tests := map[int]func(*client.Request){
		http.StatusUnsupportedMediaType: func(r *client.Request) { r.ContentType = "text/html" },
		http.StatusBadRequest:           func(r *client.Request) { r.Endpoint = "Greeter.\x00" },
	}
	for want, change := range tests {
		req := request()
		change(req)
		if _, err := e.openAs(e.Context(), nil, n, req); !isStatus(err, want, http.StatusNotFound) {
			return fmt.Errorf("%w, want %d", err, want)
		}
	}
	return nil
}

func streamKeepsServiceError(e *env) error {
	for _, code := range []int{400, 401, 404, 409, 418, 500, 503, 504} {
		want := &goapi.Error{Code: code, ID: "greeter.fail", Detail: fmt.Sprintf("no \"%d\", sörry", code)}
		s, err := e.serveAndOpen(nil, func(_ context.Context, _ *Call, s ServerStream) error {
			return errors.Join(s.Send([]byte("1")), want)
		})
		if err != nil {
			return err
		}
		if err := wants(s, "1"); err != nil {
			return err
		}
		for range 2 {
			_, err = s.Recv()
			var got *goapi.Error
			if !errors.As(err, &got) || got.Code != want.Code || got.ID != want.ID || got.Detail != want.Detail {
				return fmt.Errorf("stream.Recv error = %w, want %w", err, want)
			}
		}
	}
	return nil
}

func streamPlainErrorIs500(e *env) error {
	s, err := e.serveAndOpen(nil, func(context.Context, *Call, ServerStream) error { return errors.New("a plain error") })
	if err != nil {
		return err
	}
	_, err = s.Recv()
	var got *goapi.Error
	if !errors.As(err, &got) || got.Code != http.StatusInternalServerError || got.Detail != "a plain error" || got.ID != service {
		return fmt.Errorf("stream.Recv error = %w, want 500 with the text and the service's name", err)
	}
	return nil
}

func streamUnknownMethodIs404(e *env) error {
	s, err := e.serveAndOpen(nil, func(context.Context, *Call, ServerStream) error { return ErrNoMethod })
	if err != nil {
		return err
	}
	if _, err := s.Recv(); !isStatus(err, http.StatusNotFound) {
		return fmt.Errorf("stream.Recv error = %w, want 404", err)
	}
	return nil
}

func streamBoundsMessage(e *env) error {
	const limit = 2048
	for _, over := range []int{1, 64 * limit} {
		n := e.streams.ServeStream(e.TB, nil, echoStream)
		req := request()
		req.ContentType = contentProto
		s, err := e.openAs(e.Context(), &client.Options{MaxReply: limit}, n, req)
		if err != nil {
			return err
		}
		most := strings.Repeat("x", limit)
		if err := errors.Join(sendAll(s, most), wants(s, most), sendAll(s, most+strings.Repeat("x", over))); err != nil {
			return err
		}
		if _, err := s.Recv(); !isStatus(err, http.StatusBadGateway) {
			return fmt.Errorf("stream.Recv of %d bytes error = %w, want 502", limit+over, err)
		}
	}
	return nil
}

// After the end, Send fails, if not at once.
func streamSendIsOver(e *env) error {
	s, err := e.serveAndOpen(nil, func(context.Context, *Call, ServerStream) error { return nil })
	if err != nil {
		return err
	}
	if err := wantsEnd(s); err != nil {
		return err
	}
	for range 1000 {
		if err = s.Send(make([]byte, 1<<10)); err != nil {
			break
		}
	}
	if !errors.Is(err, client.ErrStreamOver) {
		return fmt.Errorf("stream.Send after the end error = %w, want %w", err, client.ErrStreamOver)
	}
	return nil
}

func streamCloseSendTwice(e *env) error {
	s, err := e.serveAndOpen(&client.Options{StreamIdle: soon}, echoStream)
	if err != nil {
		return err
	}
	for range 2 {
		if err := s.CloseSend(); err != nil {
			return fmt.Errorf("stream.CloseSend error = %w", err)
		}
	}
	return wantsEnd(s)
}

func streamOverTLS(e *env) error {
	server, trusting := certificate()
	n := *e.streams.ServeStream(e.TB, server, echoStream)
	n.Metadata = map[string]string{"secure": "true"}
	s, err := e.open(e.Context(), &client.Options{TLS: trusting}, &n)
	if err != nil {
		return err
	}
	return errors.Join(sendAll(s, john), wants(s, john))
}
