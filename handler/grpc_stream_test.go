package handler_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/server"
)

// TestGRPCShapes has calls in which the two sides take turns in every way.
func TestGRPCShapes(t *testing.T) {
	tests := []struct {
		name  string
		serve grpcService
		call  func(t *testing.T, s grpc.ClientStream)
	}{
		{"ping-pong", echoMessagesOfGRPC, func(t *testing.T, s grpc.ClientStream) {
			for i := range 100 {
				say(t, s, fmt.Sprint(i))
				hears(t, s, fmt.Sprint(i))
			}
			end(t, s)
			hearsEnd(t, s, codes.OK)
		}},
		{"the client first", func(s grpc.ServerStream) error {
			n := 0
			for _, err := recv(s); err == nil; _, err = recv(s) {
				n++
			}
			return s.SendMsg([]byte(fmt.Sprint(n)))
		}, func(t *testing.T, s grpc.ClientStream) {
			for range 1000 {
				say(t, s, "x")
			}
			end(t, s)
			hears(t, s, "1000")
			hearsEnd(t, s, codes.OK)
		}},
		{"the service first", func(s grpc.ServerStream) error {
			if err := s.SendMsg([]byte("welcome")); err != nil {
				return err
			}
			return echoMessagesOfGRPC(s)
		}, func(t *testing.T, s grpc.ClientStream) {
			hears(t, s, "welcome")
			say(t, s, "thanks")
			hears(t, s, "thanks")
			end(t, s)
			hearsEnd(t, s, codes.OK)
		}},
		{"headers long before a message", func(s grpc.ServerStream) error {
			if err := s.SendHeader(metadata.Pairs("early", "bird")); err != nil {
				return err
			}
			return echoMessagesOfGRPC(s)
		}, func(t *testing.T, s grpc.ClientStream) {
			if h, err := s.Header(); err != nil || len(h["early"]) != 1 {
				t.Fatalf("Header = %v, %v; want it before any message", h, err)
			}
			say(t, s, "worm")
			hears(t, s, "worm")
			end(t, s)
			hearsEnd(t, s, codes.OK)
		}},
		{"the service says nothing", func(s grpc.ServerStream) error {
			_, err := recv(s)
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}, func(t *testing.T, s grpc.ClientStream) {
			end(t, s)
			hearsEnd(t, s, codes.OK)
		}},
		{"the client says nothing", func(s grpc.ServerStream) error {
			for range 3 {
				_ = s.SendMsg([]byte("tick"))
			}
			return nil
		}, func(t *testing.T, s grpc.ClientStream) {
			for range 3 {
				hears(t, s, "tick")
			}
			hearsEnd(t, s, codes.OK)
		}},
		{"the service ends at once", func(grpc.ServerStream) error {
			return status.Error(codes.AlreadyExists, "enough")
		}, func(t *testing.T, s grpc.ClientStream) {
			big := make([]byte, 64<<10)
			for s.SendMsg(big) == nil { // until the end is here
			}
			hearsEnd(t, s, codes.AlreadyExists)
		}},
		{"the service ends in the middle", func(s grpc.ServerStream) error {
			msg, err := recv(s)
			if err != nil {
				return err
			}
			_ = s.SendMsg([]byte(msg))
			return status.Error(codes.Aborted, "enough")
		}, func(t *testing.T, s grpc.ClientStream) {
			say(t, s, "one")
			hears(t, s, "one")
			hearsEnd(t, s, codes.Aborted)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := connect(t, serveRelay(t, grpcRoute(tt.serve.start(t)), nil, nil))
			for range 10 { // the order of frames is luck
				tt.call(t, openCall(limited(t), t, conn))
			}
		})
	}
}

func TestGRPCCancelledByTheClient(t *testing.T) {
	for name, begun := range map[string]bool{"before the answer": false, "behind a message": true} {
		t.Run(name, func(t *testing.T) {
			arrived, gone := make(chan struct{}, 1), make(chan error, 1)
			conn := connect(t, serveRelay(t, grpcRoute(grpcService(func(s grpc.ServerStream) error {
				if begun {
					_ = s.SendMsg([]byte("one"))
				}
				arrived <- struct{}{}
				<-s.Context().Done()
				gone <- s.Context().Err()
				return nil
			}).start(t)), nil, nil))
			ctx, cancel := context.WithCancel(limited(t))
			s := openCall(ctx, t, conn)
			say(t, s, "hello")
			if begun {
				hears(t, s, "one")
			}
			receives(t, arrived, "the call")
			cancel()
			if err := receives(t, gone, "the end of the service's context"); !errors.Is(err, context.Canceled) {
				t.Errorf("the service's context ended with %v, want Canceled", err)
			}
			hearsEnd(t, s, codes.Canceled)
		})
	}
}

// TestGRPCBackPressure has each side flood the other, which takes nothing.
func TestGRPCBackPressure(t *testing.T) {
	const most = 4 << 20 // in all the windows and buffers on the way
	msg := make([]byte, 32<<10)
	flood := func(send func(any) error, sent *atomic.Int64) error {
		for {
			if err := send(msg); err != nil {
				return err
			}
			sent.Add(int64(len(msg)))
		}
	}
	settle := func(t *testing.T, sent *atomic.Int64) {
		t.Helper()
		for before := int64(0); before == 0 || sent.Load() != before; {
			before = sent.Load()
			time.Sleep(100 * time.Millisecond) // there is no event: nothing goes on
		}
		if got := sent.Load(); got > most {
			t.Errorf("%d bytes were taken from the one who floods, want %d at most", got, most)
		}
	}
	t.Run("of the service", func(t *testing.T) {
		var sent atomic.Int64
		over := make(chan error, 1)
		conn := connect(t, serveRelay(t, grpcRoute(grpcService(func(s grpc.ServerStream) error {
			err := flood(s.SendMsg, &sent)
			over <- err
			return err
		}).start(t)), nil, nil))
		ctx, cancel := context.WithCancel(limited(t))
		s := openCall(ctx, t, conn)
		_, _ = s.Header() // it has begun
		settle(t, &sent)
		cancel()
		receives(t, over, "the end of the flood")
	})
	t.Run("of the client", func(t *testing.T) {
		var sent atomic.Int64
		conn := connect(t, serveRelay(t, grpcRoute(grpcService(func(s grpc.ServerStream) error {
			<-s.Context().Done()
			return nil
		}).start(t)), nil, nil))
		ctx, cancel := context.WithCancel(limited(t))
		s := openCall(ctx, t, conn)
		over := make(chan error, 1)
		go func() { over <- flood(s.SendMsg, &sent) }()
		settle(t, &sent)
		cancel()
		receives(t, over, "the end of the flood")
	})
}

// TestGRPCOutlivesTheBody has a stream whose client is silent for longer than it
// may be with the body of any other request. The limits are those of a busy
// machine.
func TestGRPCOutlivesTheBody(t *testing.T) {
	t.Parallel()
	const limit = 3 * time.Second
	conn := connect(t, serveRelay(t, grpcRoute(grpcService(func(s grpc.ServerStream) error {
		<-time.After(limit + time.Second)
		if err := s.SendMsg([]byte("tick")); err != nil {
			return err
		}
		return echoMessagesOfGRPC(s)
	}).start(t)), nil, &server.Options{BodyTimeout: limit, WriteTimeout: limit, IdleTimeout: limit}))
	s := openCall(limited(t), t, conn)
	hears(t, s, "tick")
	say(t, s, "still here")
	hears(t, s, "still here")
	end(t, s)
	hearsEnd(t, s, codes.OK)
}

// TestGRPCIdle has a stream on which something is sent just in time for an hour,
// by one side or the other, and then nothing.
func TestGRPCIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = 5 * time.Minute
		over := make(chan error, 1)
		gw := relayPipes(t, grpcRoute(grpcNode("node:80")), func(s grpc.ServerStream) error {
			err := func() error {
				for {
					msg, err := recv(s)
					if err != nil {
						return err
					}
					time.Sleep(idle - time.Second)
					if err := s.SendMsg([]byte(msg)); err != nil {
						return err
					}
				}
			}()
			over <- err
			return err
		}, handler.GRPCOptions{Idle: idle})
		dial := gw.transport().DialContext
		s := openCall(t.Context(), t, connect(t, "gateway", grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dial(ctx, "tcp", address)
		})))
		for range 6 {
			time.Sleep(idle - time.Second)
			say(t, s, "a")
			hears(t, s, "a")
		}
		began := time.Now()
		_, err := recv(s)
		if want := "Unavailable: nothing was sent on the stream for 5m0s"; text(err) != want {
			t.Errorf("status of an idle stream = %s, want %s", text(err), want)
		}
		if took := time.Since(began); took != idle {
			t.Errorf("the stream ended after %s, want %s", took, idle)
		}
		if err := <-over; status.Code(err) != codes.Canceled {
			t.Errorf("the service's stream ended with %v, want Canceled", err)
		}
	})
}

// TestGRPCDeadline has clients that name a deadline and do not keep it
// themselves, and a service that does not look at it.
func TestGRPCDeadline(t *testing.T) {
	const limit = 50 * time.Millisecond
	tests := []struct {
		name    string
		timeout string
		policy  *goapi.Policy
		msg     string
		want    string
	}{
		{"before the answer", "50m", nil, "wait", "4 service echo did not answer in time"},
		{"behind a message", "50000u", nil, "begin", "4 service echo did not end the stream in time"},
		{"of the policy", "", &goapi.Policy{Timeout: limit}, "wait", "4 service echo did not answer in time"},
		{"of the policy, which is earlier", "1H", &goapi.Policy{Timeout: limit}, "begin", "4 service echo did not end the stream in time"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := make(chan time.Duration, 1)
				release := make(chan struct{})
				rt := grpcRoute(grpcNode("node:80"))
				rt.Policy, rt.Endpoint.Metadata = tt.policy, map[string]string{"path": "/a"} // it is announced
				gw := relayPipes(t, rt, func(s grpc.ServerStream) error {
					at, _ := s.Context().Deadline()
					told <- time.Until(at)
					if msg, _ := recv(s); msg == "begin" {
						_ = s.SendMsg([]byte("one"))
					}
					<-release
					return nil
				}, handler.GRPCOptions{})
				defer close(release)
				body, hold := io.Pipe() // the client goes on sending
				defer hold.Close()
				r := grpcRequest(t.Context(), t, "gateway", "application/grpc+json", io.MultiReader(bytes.NewReader(frameOf(tt.msg)), body))
				if tt.timeout != "" {
					r.Header.Set("Grpc-Timeout", tt.timeout)
				}
				began := time.Now()
				rsp, err := gw.http2(t).RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					hold.Close() // whom the transport waits for
					rsp.Body.Close()
				}()
				if _, err := io.ReadAll(rsp.Body); err != nil {
					t.Fatal(err)
				}
				if got, took := statusIn(rsp), time.Since(began); got != tt.want || took != limit {
					t.Errorf("status = %s after %s, want %s after %s", got, took, tt.want, limit)
				}
				if got := <-told; got != limit {
					t.Errorf("the service was told %v, want %v", got, limit)
				}
				for _, n := range rt.Upstream.Nodes() {
					if n.Failures != 0 {
						t.Errorf("%d failures are held against the node, want none", n.Failures)
					}
				}
			})
		})
	}
}

// TestGRPCStreamOutlivesThePolicy has a stream that is announced as one, and a
// method of which nobody knows: the policy's Timeout is for calls, and for the
// beginning of what may be one.
func TestGRPCStreamOutlivesThePolicy(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second // a busy machine begins in it, too
	for name, stream := range map[string]bool{"announced": true, "not announced": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rt := grpcRoute(grpcService(echoMessagesOfGRPC).start(t))
			rt.Policy = &goapi.Policy{Timeout: timeout}
			rt.Endpoint.Stream = stream
			s := openCall(limited(t), t, connect(t, serveRelay(t, rt, nil, nil)))
			for range 3 {
				say(t, s, "a")
				hears(t, s, "a")
				time.Sleep(timeout * 3 / 4) // a pace; what is measured is the policy's time
			}
			end(t, s)
			hearsEnd(t, s, codes.OK)
		})
	}
}

// TestGRPCAnswerOfAMethodThatIsNotAnnounced begins in the time of the policy.
func TestGRPCAnswerOfAMethodThatIsNotAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := grpcRoute(grpcNode("node:80"))
		rt.Policy = &goapi.Policy{Timeout: time.Second}
		release := make(chan struct{})
		defer close(release)
		gw := relayPipes(t, rt, func(grpc.ServerStream) error {
			<-release
			return nil
		}, handler.GRPCOptions{})
		began := time.Now()
		rsp, err := gw.http2(t).RoundTrip(grpcRequest(t.Context(), t, "gateway", "application/grpc+json", bytes.NewReader(frameOf("wait"))))
		if err != nil {
			t.Fatal(err)
		}
		defer rsp.Body.Close()
		if _, err := io.ReadAll(rsp.Body); err != nil {
			t.Fatal(err)
		}
		if got, took := statusIn(rsp), time.Since(began); got != "4 service echo did not answer in time" || took.Round(time.Millisecond) != time.Second {
			t.Errorf("status = %s after %s, want 4 service echo did not answer in time after 1s", got, took)
		}
	})
}

// TestGRPCDeadlineOfAClientThatDoesNotRead bounds a write, too.
func TestGRPCDeadlineOfAClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 200 * time.Millisecond
		over := make(chan time.Time, 1)
		gw := relayPipes(t, grpcRoute(grpcNode("node:80")), func(s grpc.ServerStream) error {
			for {
				if err := s.SendMsg(make([]byte, 32<<10)); err != nil {
					over <- time.Now()
					return err
				}
			}
		}, handler.GRPCOptions{})
		r := grpcRequest(t.Context(), t, "gateway", "application/grpc+json", http.NoBody)
		r.Header.Set("Grpc-Timeout", "200m")
		began := time.Now()
		rsp, err := gw.http2(t).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer rsp.Body.Close()
		if took := (<-over).Sub(began); took != limit {
			t.Errorf("the service's stream ended after %s, want %s", took, limit)
		}
	})
}

// relayPipes serves a gateway with one route, behind which is a service. No bytes
// leave the bubble.
func relayPipes(t *testing.T, rt *goapi.Route, serve grpcService, opts handler.GRPCOptions) *piped {
	t.Helper()
	node := bufconn.Listen(64 << 10) // in a pipe, both sides would wait for the other to read its first frames
	srv := grpc.NewServer(grpc.ForceServerCodecV2(wholeBytes{}),
		grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error { return serve(s) }))
	go func() { _ = srv.Serve(node) }() // ends with Stop
	t.Cleanup(srv.Stop)
	opts.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return node.DialContext(ctx) }
	h := handler.GRPC(&opts)
	t.Cleanup(func() {
		if err := h.(io.Closer).Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return inMemory(t, goapi.With(rt, h))
}

// statusIn returns the status of an answer, wherever it is.
func statusIn(rsp *http.Response) string {
	h := rsp.Trailer
	if rsp.Header.Get("Grpc-Status") != "" {
		h = rsp.Header
	}
	return h.Get("Grpc-Status") + " " + h.Get("Grpc-Message")
}

func say(t *testing.T, s grpc.ClientStream, msg string) {
	t.Helper()
	if err := s.SendMsg([]byte(msg)); err != nil {
		t.Fatalf("SendMsg(%q) = %v", msg, err)
	}
}

func hears(t *testing.T, s grpc.ClientStream, want string) {
	t.Helper()
	if got, err := recv(s); got != want || err != nil {
		t.Fatalf("message = %q, %v; want %q", got, err, want)
	}
}

func end(t *testing.T, s grpc.ClientStream) {
	t.Helper()
	if err := s.CloseSend(); err != nil {
		t.Fatalf("CloseSend = %v", err)
	}
}

// hearsEnd wants no message but the end.
func hearsEnd(t *testing.T, s grpc.ClientStream, want codes.Code) {
	t.Helper()
	msg, err := recv(s)
	if errors.Is(err, io.EOF) {
		err = nil
	} else if err == nil {
		t.Fatalf("message = %q, want the end", msg)
	}
	if got := status.Code(err); got != want {
		t.Fatalf("status = %v, want %v", err, want)
	}
}
