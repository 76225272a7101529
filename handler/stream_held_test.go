package handler_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/goapi-dev/goapi/handler"
)

// TestSocketsHoldLittle has clients that send a part of a message and stop:
// together they hold no more than they may, while small messages go on.
func TestSocketsHoldLittle(t *testing.T) {
	const size = 128 << 10
	synctest.Test(t, func(t *testing.T) {
		got := make(chan string, 1)
		p := streamPipes(t, memory{serve: func(ctx context.Context, c *caller) error {
			if msg, err := c.next(); err == nil {
				got <- msg
			}
			<-ctx.Done()
			return ctx.Err()
		}}, handler.StreamOptions{MaxHeld: 3 * size})
		part := clientFrame(0x82, strings.Repeat("x", size))[:size-size/8]
		var conns []net.Conn
		defer func() {
			for _, c := range conns {
				_ = c.Close()
			}
		}()
		for n := range 5 {
			conn, br := p.handshake(t, "Sec-WebSocket-Protocol", "binary")
			conns = append(conns, conn)
			go func() { _, _ = io.WriteString(conn, part) }() // the test closes it
			synctest.Wait()
			if n < 3 {
				continue
			}
			if text := nextMessage(t, br); !strings.Contains(text, `"code":503`) {
				t.Errorf("came %q, want an error", text)
			}
			expectClose(t, br, "1013 the gateway holds as many large messages as it takes")
		}
		conn, _ := p.handshake(t, "Sec-WebSocket-Protocol", "binary")
		conns = append(conns, conn)
		go func() { _, _ = io.WriteString(conn, clientFrame(0x82, "small")) }() // the service tells
		if msg := <-got; msg != "small" {
			t.Errorf("the service got %d bytes, want the small message", len(msg))
		}
	})
}
