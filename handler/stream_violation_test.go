package handler_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/handler"
)

// A violation is what a client sends, and the code that it gets for it.
type violation struct {
	name   string
	sent   string
	binary bool // the messages are protobuf
	want   int
}

func violations() []violation {
	const (
		text, binary, closing, ping = 0x81, 0x82, 0x88, 0x89
		cont, begun                 = 0x80, 0x01 // a last piece; the first of several
	)
	masked := clientFrame
	return []violation{
		{"not masked", "\x81\x02{}", false, 1002},
		{"reserved bit 1", masked(text|0x40, "{}"), false, 1002},
		{"reserved bit 2", masked(text|0x20, "{}"), false, 1002},
		{"reserved bit 3", masked(text|0x10, "{}"), false, 1002},
		{"reserved bit of a ping", masked(ping|0x40, ""), false, 1002},
		{"unknown opcode 3", masked(0x83, "{}"), false, 1002},
		{"unknown opcode 15", masked(0x8F, ""), false, 1002},
		{"ping in pieces", masked(0x09, ""), false, 1002},
		{"close in pieces", masked(0x08, ""), false, 1002},
		{"long ping", masked(ping, strings.Repeat("x", 126)), false, 1002},
		{"continues nothing", masked(cont, "{}"), false, 1002},
		{"begins before the end", masked(begun, "{") + masked(text, "}"), false, 1002},
		{"length past 63 bits", "\x81\xff\x80\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00", false, 1002},
		{"close of one byte", masked(closing, "\x03"), false, 1002},
		{"close with 999", masked(closing, "\x03\xe7"), false, 1002},
		{"close with 1004", masked(closing, "\x03\xec"), false, 1002},
		{"close with 1005", masked(closing, "\x03\xed"), false, 1002},
		{"close with 1006", masked(closing, "\x03\xee"), false, 1002},
		{"close with 1015", masked(closing, "\x03\xf7"), false, 1002},
		{"close with 2999", masked(closing, "\x0b\xb7"), false, 1002},
		{"close with 5000", masked(closing, "\x13\x88"), false, 1002},
		{"close with a reason that is no text", masked(closing, "\x03\xe8\xff\xfe"), false, 1007},
		{"text that is not UTF-8", masked(text, "\"\xff\""), false, 1007},
		{"text that is not UTF-8, in pieces", masked(begun, "\"\xc3") + masked(cont, "\""), false, 1007},
		{"text that is not UTF-8, for protobuf", masked(text, "\xff"), true, 1007},
		{"not JSON", masked(text, "{"), false, 1007},
		{"spaces", masked(text, " "), false, 1007},
		{"nested too deep", masked(text, strings.Repeat("[", 1001)+strings.Repeat("]", 1001)), false, 1007},
		{"binary for JSON", masked(binary, "{}"), false, 1003},
		{"text for protobuf", masked(text, "{}"), true, 1003},
		{"too large", masked(text, `"`+strings.Repeat("x", 99)+`"`), false, 1009},
		{"too large, in pieces", masked(begun, `"`+strings.Repeat("x", 59)) + masked(cont, strings.Repeat("x", 59)+`"`), false, 1009},
		{"says that it is far too large", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00" + strings.Repeat("x", 4096), true, 1009},
		{"after the end", masked(text, "") + masked(text, "{}"), false, 1008},
		{"closes well", masked(closing, "\x03\xe8"), false, 1000},
		{"closes without a code", masked(closing, ""), false, 1005},
		{"closes with a code of its own", masked(closing, "\x0f\xa0bye"), false, 4000},
	}
}

// TestSocketViolations holds the code that a client gets for what RFC 6455, or
// the stream, does not allow. The service never sees it, and its call ends.
func TestSocketViolations(t *testing.T) {
	for _, tt := range violations() {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 10)
			gone := make(chan error, 1)
			url := serveStreams(t, memory{serve: func(ctx context.Context, c *caller) error {
				msg, err := c.next()
				for err == nil {
					got <- msg
					msg, err = c.next()
				}
				return waits(gone)(ctx, c)
			}}, streamRoute(), &handler.StreamOptions{MaxMessage: 100})
			header := []string{}
			if tt.binary {
				header = append(header, "Sec-WebSocket-Protocol", "binary")
			}
			if strings.HasPrefix(tt.name, "nested") {
				url = serveStreams(t, memory{serve: waits(gone)}, streamRoute(), nil)
			}
			conn, br := rawSocket(t, url, header...)
			if _, err := io.WriteString(conn, tt.sent); err != nil {
				t.Fatal(err)
			}
			code, err := closedWith(br)
			if err != nil || code != tt.want {
				t.Errorf("closed with %d, %v; want %d", code, err, tt.want)
			}
			_ = conn.Close()
			receives(t, gone, "the end of the call")
			if len(got) > 0 {
				t.Errorf("the service got %q", <-got)
			}
		})
	}
}

// TestSocketHalfAMessage: what came of a message when the client broke off is
// none, though it may read as one.
func TestSocketHalfAMessage(t *testing.T) {
	for name, sent := range map[string]string{
		"between reads":  "\x82\xfe\x10\x00\x00\x00\x00\x00" + strings.Repeat("x", 512),
		"between pieces": clientFrame(0x02, strings.Repeat("x", 600)),
		"within a head":  clientFrame(0x02, strings.Repeat("x", 600)) + "\x80",
	} {
		t.Run(name, func(t *testing.T) {
			first := make(chan string, 1)
			gone := make(chan error, 1)
			url := serveStreams(t, memory{serve: func(ctx context.Context, c *caller) error {
				if msg, err := c.next(); err == nil {
					first <- msg
				}
				return waits(gone)(ctx, c)
			}}, streamRoute(), nil)
			conn, _ := rawSocket(t, url, "Sec-WebSocket-Protocol", "protobuf")
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
			receives(t, gone, "the end of the call")
			if len(first) > 0 {
				t.Errorf("the service got a message of %d bytes, of which the client sent a part", len(<-first))
			}
		})
	}
}
