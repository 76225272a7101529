package handler_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/goapi-dev/goapi/handler"
)

// A flood is this many messages of this size, which no buffer holds.
const (
	floodCount = 30
	floodSize  = 256 << 10
)

// TestSocketFloodOfTheClient: while the service does not read, one message is
// taken from the client and no more; when it does, all of them come.
func TestSocketFloodOfTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, got := make(chan struct{}), make(chan int, 1)
		p := streamPipes(t, memory{serve: func(_ context.Context, c *caller) error {
			<-read
			n := 0
			for msg, err := c.next(); err == nil && len(msg) == floodSize; msg, err = c.next() {
				n++
			}
			got <- n
			return nil
		}}, handler.StreamOptions{})
		conn, br := p.handshake(t, "Sec-WebSocket-Protocol", "binary")
		var taken atomic.Int64
		go flood(conn, &taken)
		synctest.Wait()
		if n := taken.Load(); n != 1 {
			t.Errorf("%d messages were taken that nobody reads, want 1", n)
		}
		close(read)
		if n := <-got; n != floodCount {
			t.Errorf("%d messages came, want %d", n, floodCount)
		}
		if code, err := closedWith(br); code != 1000 || err != nil {
			t.Errorf("closed with %d, %v; want 1000", code, err)
		}
		_ = conn.Close()
	})
}

// TestStreamFloodOfTheService is the same the other way: one message is on its
// way to the client, and one waits.
func TestStreamFloodOfTheService(t *testing.T) {
	for _, kind := range []string{"", asLines, asEvents} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var taken atomic.Int64
				p := streamPipes(t, memory{serve: func(_ context.Context, c *caller) error {
					for range floodCount {
						if err := c.say(`"` + strings.Repeat("x", floodSize-2) + `"`); err != nil {
							return err
						}
						taken.Add(1)
					}
					return nil
				}}, handler.StreamOptions{})
				conn, br := p.connect(t, kind)
				synctest.Wait()
				if n := taken.Load(); n > 2 {
					t.Errorf("%d messages were taken for a client that does not read, want 2 at most", n)
				}
				n, err := readFlood(br, kind)
				if err != nil || n < floodCount*floodSize {
					t.Errorf("%d bytes came, %v; want all %d", n, err, floodCount*floodSize)
				}
				_ = conn.Close()
			})
		})
	}
}

// connect asks for a stream of a kind, or opens a WebSocket for none. The test
// reads and writes the bytes.
func (p *piped) connect(t *testing.T, kind string) (net.Conn, *bufio.Reader) {
	t.Helper()
	if kind == "" {
		return p.handshake(t)
	}
	near, far := net.Pipe()
	p.conns <- far
	if _, err := io.WriteString(near, "GET / HTTP/1.1\r\nHost: x\r\nAccept: "+kind+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return near, bufio.NewReaderSize(near, 16)
}

// readFlood returns the size of what comes until the end of a stream.
func readFlood(br *bufio.Reader, kind string) (int64, error) {
	if kind != "" {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		return io.Copy(io.Discard, res.Body)
	}
	for n := int64(0); ; {
		first, payload, err := readServerFrame(br)
		if err != nil || first == 0x88 {
			return n, err
		}
		n += int64(len(payload))
	}
}

// TestSocketFloodInBothDirections: neither waits for the other.
func TestSocketFloodInBothDirections(t *testing.T) {
	conn, br := rawSocket(t, serveStreams(t, memory{serve: echoes}, streamRoute(), nil), "Sec-WebSocket-Protocol", "binary")
	var taken atomic.Int64
	go flood(conn, &taken)
	if n, err := readFlood(br, ""); n != floodCount*floodSize || err != nil {
		t.Errorf("%d bytes came back, %v; want all %d", n, err, floodCount*floodSize)
	}
}

// flood sends binary messages and the end of them, as long as they are taken.
func flood(w io.Writer, taken *atomic.Int64) {
	frame := clientFrame(0x82, strings.Repeat("x", floodSize))
	for range floodCount {
		if _, err := io.WriteString(w, frame); err != nil {
			return
		}
		taken.Add(1)
	}
	_, _ = io.WriteString(w, clientFrame(0x81, "")) // the end of the stream tells
}

// TestSocketLeavesWhileNobodyReads: that a client has left is noticed by what it
// is sent, when nothing is read from it.
func TestSocketLeavesWhileNobodyReads(t *testing.T) {
	gone := make(chan error, 1)
	conn := openSocket(t, serveStreams(t, memory{serve: waits(gone)}, streamRoute(), &handler.StreamOptions{Ping: 20 * time.Millisecond}))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var err error
	for msg := []byte(`"` + strings.Repeat("x", floodSize) + `"`); err == nil; {
		err = conn.Write(ctx, websocket.MessageText, msg) // its end closes the connection
	}
	if err := receives(t, gone, "the end of the call"); !errors.Is(err, context.Canceled) {
		t.Errorf("the call ended with %v", err)
	}
}
