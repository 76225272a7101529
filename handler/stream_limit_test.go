package handler_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/handler"
)

// TestSocketRefusesWhatIsAnnounced: a message that is going to be too large is
// refused by the head of a frame, before any of it is here.
func TestSocketRefusesWhatIsAnnounced(t *testing.T) {
	const frame, mask = "\x82\xff", "\x00\x00\x00\x00"
	for name, sent := range map[string]string{
		"1 TiB":             frame + "\x00\x00\x01\x00\x00\x00\x00\x00" + mask,
		"4 EiB":             frame + "\x40\x00\x00\x00\x00\x00\x00\x00" + mask,
		"a byte more":       frame + "\x00\x00\x00\x00\x00\x40\x00\x01" + mask,
		"in pieces":         clientFrame(0x02, "x") + "\x00\xff\x00\x00\x00\x00\x00\x40\x00\x00" + mask,
		"with a ping":       clientFrame(0x02, "x") + clientFrame(0x89, "ping") + "\x80\xff\x00\x00\x00\x00\x00\x40\x00\x00" + mask,
		"behind a message":  clientFrame(0x82, "x") + frame + "\x00\x00\x00\x00\x00\x40\x00\x01" + mask,
		"behind 4095 bytes": clientFrame(0x82, strings.Repeat("x", 4095)) + frame + "\x00\x00\x01\x00\x00\x00\x00\x00" + mask,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gone := make(chan error, 1)
				p := streamPipes(t, memory{serve: func(ctx context.Context, c *caller) error {
					var err error
					for err == nil {
						_, err = c.next()
					}
					return waits(gone)(ctx, c)
				}}, handler.StreamOptions{})
				conn, br := p.handshake(t, "Sec-WebSocket-Protocol", "binary")
				start := time.Now()
				go func() { _, _ = io.WriteString(conn, sent) }() // the answer tells
				expectClose(t, br, "1009 the message is larger than 4194304 bytes")
				if late := time.Since(start); late > 0 {
					t.Errorf("it was refused after %v", late)
				}
				_ = conn.Close()
				<-gone
			})
		})
	}
}

// TestSocketTakesWhatIsAnnounced: a message as large as it may be is none that
// is too large, in one piece or several.
func TestSocketTakesWhatIsAnnounced(t *testing.T) {
	large := strings.Repeat("x", 4<<20)
	for name, sent := range map[string]string{
		"whole":     clientFrame(0x82, large),
		"in pieces": clientFrame(0x02, large[:1<<20]) + clientFrame(0x89, "ping") + clientFrame(0x80, large[1<<20:]),
		"two":       clientFrame(0x82, large) + clientFrame(0x82, large),
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan int, 2)
			conn, _ := rawSocket(t, serveStreams(t, memory{serve: func(_ context.Context, c *caller) error {
				for {
					msg, err := c.next()
					if err != nil {
						return err
					}
					got <- len(msg)
				}
			}}, streamRoute(), nil), "Sec-WebSocket-Protocol", "binary")
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Fatal(err)
			}
			for range strings.Count(name, "two") + 1 {
				if n := receives(t, got, "a message"); n != len(large) {
					t.Errorf("a message of %d bytes came, want %d", n, len(large))
				}
			}
		})
	}
}

// TestSocketMessageTime: a message that has begun must be whole within 30 s,
// however often something of it comes. The next one has its own time.
func TestSocketMessageTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := streamPipes(t, memory{serve: echoes}, handler.StreamOptions{})
		conn, br := p.handshake(t, "Sec-WebSocket-Protocol", "binary")
		slow := strings.Repeat("x", 4<<10)
		for range 2 { // 25 s each
			go drip(conn, clientFrame(0x82, slow), 900, 5*time.Second)
			if got := nextMessage(t, br); got != slow {
				t.Errorf("%d bytes came back, want %d", len(got), len(slow))
			}
		}
		frame := clientFrame(0x82, strings.Repeat("x", 1<<20))
		start := time.Now()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			if _, err := io.WriteString(conn, frame[:14]); err == nil { // the head
				drip(conn, frame[14:], 1, 5*time.Second)
			}
		})
		if got := nextMessage(t, br); got != `{"id":"goapi","code":408,"detail":"the message did not come within 30s","status":"Request Timeout"}` {
			t.Errorf("came %q, want an error", got)
		}
		expectClose(t, br, "1008 the message did not come within 30s")
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("the message was given %v, want 30s", took)
		}
		_ = conn.Close()
	})
}

// TestSocketReasons: what a client is told of its frames are the gateway's own
// words, and never those of a library.
func TestSocketReasons(t *testing.T) {
	const bad = "1002 the frames are not as RFC 6455 has them"
	tests := []struct{ name, sent, want string }{
		{"reserved bit", clientFrame(0xC2, "x"), bad},
		{"unknown opcode", clientFrame(0x83, "x"), bad},
		{"not masked", "\x82\x01x", bad},
		{"long ping", clientFrame(0x89, strings.Repeat("x", 126)), bad},
		{"ping in pieces", clientFrame(0x09, ""), bad},
		{"continues nothing", clientFrame(0x80, "x"), bad},
		{"begins before the end", clientFrame(0x02, "x") + clientFrame(0x82, "x"), bad},
		{"code that is none", clientFrame(0x88, "\x03\xe7"), bad},
		{"too large", clientFrame(0x82, strings.Repeat("x", 101)), "1009 the message is larger than 100 bytes"},
		{"too large, in pieces", clientFrame(0x02, strings.Repeat("x", 60)) + clientFrame(0x80, strings.Repeat("x", 60)), "1009 the message is larger than 100 bytes"},
		{"leaves with a reason", clientFrame(0x88, "\x0f\xa0bye"), "4000 bye"},
		{"leaves with one that is no text", clientFrame(0x88, "\x0f\xa0\xff"), "1007 "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			gone := make(chan error, 1)
			url := serveStreams(t, memory{serve: waits(gone)}, streamRoute(), &handler.StreamOptions{MaxMessage: 100})
			conn, br := rawSocket(t, url, "Sec-WebSocket-Protocol", "binary")
			if _, err := io.WriteString(conn, tt.sent); err != nil {
				t.Fatal(err)
			}
			expectClose(t, br, tt.want)
			_ = conn.Close()
			receives(t, gone, "the end of the call")
		})
	}
}

// drip writes a text in steps, one each interval, as long as it is taken.
func drip(conn net.Conn, text string, step int, every time.Duration) {
	for text != "" {
		n := min(step, len(text))
		if _, err := io.WriteString(conn, text[:n]); err != nil {
			return
		}
		text = text[n:]
		time.Sleep(every)
	}
}

// nextMessage returns the next message of a server; pings are passed over.
func nextMessage(t *testing.T, br *bufio.Reader) string {
	t.Helper()
	for {
		first, payload, err := readServerFrame(br)
		if err != nil {
			t.Fatal(err)
		}
		if first < 0x88 {
			return string(payload)
		}
	}
}

// expectClose compares the next frame that is no ping or pong.
func expectClose(t *testing.T, br *bufio.Reader, want string) {
	t.Helper()
	for {
		first, payload, err := readServerFrame(br)
		switch {
		case err != nil:
			t.Errorf("the connection ended with %v, want %s", err, want)
			return
		case first > 0x88:
			continue
		case first != 0x88 || len(payload) < 2:
			t.Errorf("came %x %q, want %s", first, payload, want)
			return
		}
		if got := fmt.Sprint(binary.BigEndian.Uint16(payload), " ", string(payload[2:])); got != want {
			t.Errorf("closed with %q, want %q", got, want)
		}
		return
	}
}
