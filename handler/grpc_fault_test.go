package handler_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// answers is a node that answers each stream frame by frame, when its request
// is here.
func answers(serve func(c *frameConn, stream uint32)) func(testing.TB) *registry.Node {
	return func(t testing.TB) *registry.Node {
		t.Helper()
		return frameNode(t, serve)
	}
}

// writes is a node that writes bytes, and ends the connection.
func writes(text string) func(testing.TB) *registry.Node {
	return func(t testing.TB) *registry.Node {
		t.Helper()
		return grpcNode(rawService(t, func(c net.Conn, r *bufio.Reader) {
			_, _ = io.ReadFull(r, make([]byte, len(http2.ClientPreface)))
			_, _ = io.WriteString(c, text)
		}))
	}
}

func resets(code http2.ErrCode) func(testing.TB) *registry.Node {
	return answers(func(c *frameConn, id uint32) { _ = c.WriteRSTStream(id, code) })
}

func ends(fields ...string) func(testing.TB) *registry.Node {
	return answers(func(c *frameConn, id uint32) { c.headers(id, true, fields...) })
}

// TestGRPCBadServices has services that do what none must. Each costs the client
// one clear status, and the gateway nothing.
func TestGRPCBadServices(t *testing.T) {
	flood := make([]string, 0, 24<<10)
	for i := range 12 << 10 {
		flood = append(flood, fmt.Sprintf("x-%d", i), strings.Repeat("~", 1000))
	}
	tests := []struct {
		name string
		node func(testing.TB) *registry.Node
		want string // or more of them
	}{
		{"garbage", writes(strings.Repeat("garbage", 1000)), "14 service echo broke off before it answered|14 service echo could not be reached"},
		{"HTTP/1.1", writes("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), "14 service echo broke off before it answered|14 service echo could not be reached"},
		{"closes at once", writes(""), "14 service echo broke off before it answered|14 service echo could not be reached"},
		{"never answers", answers(func(*frameConn, uint32) {}), "4 service echo did not answer in time"},
		{"closes before it answers", answers(func(c *frameConn, _ uint32) { c.conn.Close() }), "14 service echo broke off before it answered|14 service echo could not be reached"},
		{"closes behind the head", answers(func(c *frameConn, id uint32) {
			c.head(id)
			c.conn.Close()
		}), "14 service echo broke off the stream|14 service echo broke off before it answered"},
		{"12 MiB of header", answers(func(c *frameConn, id uint32) { c.head(id, flood...) }), "14 service echo broke off before it answered|13 service echo reset the stream"},
		{"12 MiB of trailer", answers(func(c *frameConn, id uint32) {
			c.head(id)
			c.headers(id, true, flood...)
		}), "14 service echo broke off the stream|14 service echo broke off before it answered"},
		{"interim answers without end", answers(func(c *frameConn, id uint32) {
			for range 10000 {
				c.headers(id, false, ":status", "103", "x", strings.Repeat("~", 1000))
			}
		}), "14 service echo broke off before it answered"},
		{"resets: cancelled", resets(http2.ErrCodeCancel), "1 service echo reset the stream"},
		{"resets: internal", resets(http2.ErrCodeInternal), "13 service echo reset the stream"},
		{"resets: calm", resets(http2.ErrCodeEnhanceYourCalm), "8 service echo reset the stream"},
		{"resets: insecure", resets(http2.ErrCodeInadequateSecurity), "7 service echo reset the stream"},
		{"refuses always", resets(http2.ErrCodeRefusedStream), "14 service echo could not be reached"},
		{"goes away always", answers(func(c *frameConn, _ uint32) {
			_ = c.WriteGoAway(0, http2.ErrCodeNo, nil)
			c.conn.Close()
		}), "14 service echo could not be reached|14 service echo broke off before it answered"},
		{"resets behind the head", answers(func(c *frameConn, id uint32) {
			c.head(id)
			_ = c.WriteRSTStream(id, http2.ErrCodeInternal)
		}), "13 service echo reset the stream"},
		{"HTTP 503", ends(":status", "503", "content-type", "text/html"), "14 service echo answered 503, which is no answer of gRPC"},
		{"HTTP 401", ends(":status", "401"), "16 service echo answered 401, which is no answer of gRPC"},
		{"HTTP 404", ends(":status", "404"), "12 service echo answered 404, which is no answer of gRPC"},
		{"HTTP 400", ends(":status", "400"), "13 service echo answered 400, which is no answer of gRPC"},
		{"a page", ends(":status", "200", "content-type", "text/html"), "14 service echo answered 200, which is no answer of gRPC"},
		{"HTTP 403 with a status", ends(":status", "403", "grpc-status", "9"), "9 "},
		{"no status", answers(func(c *frameConn, id uint32) {
			c.head(id)
			_ = c.WriteData(id, true, frameOf("one"))
		}), "14 service echo gave no valid answer: it has no status"},
		{"no status in headers", ends(":status", "200", "content-type", "application/grpc"), "14 service echo gave no valid answer: it has no status"},
		{"a second head", answers(func(c *frameConn, id uint32) {
			c.head(id)
			c.head(id)
		}), "14 service echo broke off the stream|13 service echo reset the stream"},
		{"half a message", answers(func(c *frameConn, id uint32) {
			c.head(id)
			_ = c.WriteData(id, false, frameOf("one")[:6])
			c.headers(id, true, "grpc-status", "0")
		}), "0 "}, // messages are not looked at
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rt := grpcRoute(tt.node(t))
			rt.Policy = &goapi.Policy{Upstream: upstream.Policy{TryTimeout: 2 * time.Second}}
			if tt.name == "never answers" {
				rt.Policy.Upstream.TryTimeout = 100 * time.Millisecond
			}
			body, hold := io.Pipe() // the client goes on sending
			r := grpcRequest(limited(t), t, serveRelay(t, rt, nil, nil), "application/grpc", io.MultiReader(bytes.NewReader(frameOf("hello")), body))
			rsp, err := plainClient(t).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.Copy(io.Discard, rsp.Body)
			hold.Close() // whom the transport waits for
			rsp.Body.Close()
			if got := statusIn(rsp); !anyOf(got, tt.want) || err != nil || rsp.StatusCode != http.StatusOK {
				t.Errorf("status = %d, %s, %v; want 200, %s", rsp.StatusCode, got, err, tt.want)
			}
		})
	}
}

// anyOf says that got is one of a list.
func anyOf(got, list string) bool {
	for want := range strings.SplitSeq(list, "|") {
		if got == want {
			return true
		}
	}
	return false
}

// TestGRPCTriesAgain has a node that fails in ways after which another may be
// tried, or not.
func TestGRPCTriesAgain(t *testing.T) {
	const large = 200 << 10
	refuseOnce := func(f func(c *frameConn, id uint32)) func(testing.TB) *registry.Node {
		var refused atomic.Bool
		return answers(func(c *frameConn, id uint32) {
			if refused.CompareAndSwap(false, true) {
				f(c, id)
				return
			}
			c.head(id)
			_ = c.WriteData(id, false, frameOf("hello"))
			c.headers(id, true, "grpc-status", "0")
		})
	}
	tests := []struct {
		name  string
		bad   func(testing.TB) *registry.Node
		size  int // of the client's message
		key   string
		again bool
	}{
		{"is down", func(t testing.TB) *registry.Node { return grpcNode(killed(t)) }, 5, "", true},
		{"refuses", resets(http2.ErrCodeRefusedStream), 5, "", true},
		{"refuses once", refuseOnce(func(c *frameConn, id uint32) { _ = c.WriteRSTStream(id, http2.ErrCodeRefusedStream) }), 5, "", true},
		{"goes away once", refuseOnce(func(c *frameConn, _ uint32) { _ = c.WriteGoAway(0, http2.ErrCodeNo, nil) }), 5, "", true},
		{"has read it", afterData(func(c *frameConn, _ uint32) { c.conn.Close() }), 5, "", false},
		{"has read it, which may be done twice", afterData(func(c *frameConn, _ uint32) { c.conn.Close() }), 5, "once", true},
		{"resets what it has read", afterData(func(c *frameConn, id uint32) { _ = c.WriteRSTStream(id, http2.ErrCodeInternal) }), 5, "", false},
		{"refuses more than is kept", afterData(func(c *frameConn, id uint32) { _ = c.WriteRSTStream(id, http2.ErrCodeRefusedStream) }), large, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			good := grpcService(func(s grpc.ServerStream) error {
				if _, err := recv(s); err != nil {
					return err
				}
				return s.SendMsg([]byte("hello"))
			}).start(t)
			conn := connect(t, serveRelay(t, grpcRoute(tt.bad(t), good), nil, nil))
			failed := 0
			for range 20 {
				ctx := limited(t)
				if tt.key != "" {
					ctx = metadata.AppendToOutgoingContext(ctx, "idempotency-key", tt.key)
				}
				if got, err := invoke(ctx, conn, strings.Repeat("x", tt.size)); err != nil {
					failed++
				} else if got != "hello" {
					t.Errorf("answer = %q, want hello", got)
				}
			}
			if (failed == 0) != tt.again {
				t.Errorf("%d of 20 calls failed; want some: %t", failed, !tt.again)
			}
		})
	}
}

// TestGRPCEmptyCallOnce has calls without a message, of clients that may send
// some: to a node that has seen the end of one it may be everything. It dies, and
// no other gets the call.
func TestGRPCEmptyCallOnce(t *testing.T) {
	var calls atomic.Int32
	dies := func() *registry.Node {
		return frameNode(t, func(c *frameConn, _ uint32) {
			for {
				f, err := c.ReadFrame()
				if err != nil {
					return
				}
				if d, ok := f.(*http2.DataFrame); ok && d.StreamEnded() {
					calls.Add(1)
					c.conn.Close()
					return
				}
			}
		})
	}
	conn := connect(t, serveRelay(t, grpcRoute(dies(), dies(), dies()), nil, nil))
	s := openCall(limited(t), t, conn)
	end(t, s)
	hearsEnd(t, s, codes.Unavailable)
	if got := calls.Load(); got != 1 {
		t.Errorf("%d nodes got the call, want 1", got)
	}
}

// afterData is a node that does f when it has read something of a message.
func afterData(f func(c *frameConn, id uint32)) func(testing.TB) *registry.Node {
	return answers(func(c *frameConn, id uint32) {
		_ = c.WriteWindowUpdate(0, 1<<20)
		_ = c.WriteWindowUpdate(id, 1<<20)
		size := 0
		for {
			fr, err := c.ReadFrame()
			if err != nil {
				return
			}
			if d, ok := fr.(*http2.DataFrame); ok {
				if size += len(d.Data()); d.StreamEnded() || size > 100<<10 {
					f(c, id)
					return
				}
			}
		}
	})
}

// TestGRPCRollingRestart stops nodes one after the other, as gracefully as grpc-go
// does, while calls go on.
func TestGRPCRollingRestart(t *testing.T) {
	pools := upstream.NewPools(nil)
	services := func(nodes ...*registry.Node) []*registry.Service {
		return []*registry.Service{{Name: "echo", Nodes: nodes}}
	}
	var (
		servers []*grpc.Server
		nodes   []*registry.Node
	)
	for range 3 {
		ln := listenLoopback(t)
		srv := grpc.NewServer(grpc.ForceServerCodecV2(wholeBytes{}),
			grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error { return echoMessagesOfGRPC(s) }))
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = srv.Serve(ln) // ends with Stop
		}()
		t.Cleanup(func() {
			srv.Stop()
			<-served
		})
		servers, nodes = append(servers, srv), append(nodes, grpcNode(ln.Addr().String()))
	}
	rt := grpcRoute()
	rt.Upstream = pools.Update("echo", services(nodes...)).All()
	conn := connect(t, serveRelay(t, rt, nil, nil))
	ctx, stop := context.WithCancel(limited(t))
	failures, calls := make(chan error, 1000), new(atomic.Int64)
	done := make(chan struct{})
	for range 8 {
		go func() {
			for ctx.Err() == nil {
				calls.Add(1)
				if _, err := invoke(ctx, conn, "hello"); err != nil && status.Code(err) != codes.Canceled {
					failures <- err
				}
			}
			done <- struct{}{}
		}()
	}
	for i := range 2 { // without a word to the registry
		for before := calls.Load(); calls.Load() < before+100; {
			time.Sleep(time.Millisecond) // some calls
		}
		servers[i].GracefulStop()
	}
	for before := calls.Load(); calls.Load() < before+100; {
		time.Sleep(time.Millisecond) // some calls
	}
	stop()
	for range 8 {
		<-done
	}
	close(failures)
	for err := range failures {
		t.Errorf("a call failed: %v", err)
	}
}
