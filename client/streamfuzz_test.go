package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
)

// A stream reads the same whether the bytes come at once or one by one; no
// message is larger than it may be, and the end stays the end.
func FuzzMicroStream(f *testing.F) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	f.Add([]byte(head + "Content-Length: 2\r\n\r\n{}" + head + "Micro-Error: EOS\r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte(head + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\nX: y\r\n\r\n"))
	f.Add([]byte(head + "X-Micro-Error: {\"code\":418}\r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte(head + "\r\n{}"))
	for _, name := range []string{"rpc-v6/pingpong-json.txt", "v118/stream-protobuf.txt"} {
		var all []byte
		for _, c := range readCapture(f, name)[0] {
			if !c.toServer {
				all = append(all, c.data...)
			}
		}
		f.Add(all)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		whole := readStream(t, answer, false)
		slow := readStream(t, answer, true)
		if diff := cmp.Diff(whole, slow); diff != "" {
			t.Errorf("read at once and one by one (-once +one by one):\n%s", diff)
		}
	})
}

// What a stream was read as.
type heard struct {
	Messages []string
	Code     int // of a *goapi.Error
	End      bool
}

func readStream(t *testing.T, answer []byte, oneByOne bool) heard {
	t.Helper()
	const most = 64
	m := client.NewMicro(&client.Options{
		MaxReply: most,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go answerPipe(far, answer, oneByOne) // ends with the stream
			return near, nil
		},
	})
	defer m.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := m.Stream(ctx, &registry.Node{ID: "n", Address: "127.0.0.1:1"}, &client.Request{Service: "s", Endpoint: "T.M", ContentType: "application/json"})
	if err != nil {
		t.Fatalf("Stream error = %v", err)
	}
	defer s.Close()
	var h heard
	for {
		msg, err := s.Recv()
		if err != nil {
			if _, again := s.Recv(); !errors.Is(again, err) {
				t.Errorf("Recv error = %v, then %v", err, again)
			}
			if known, ok := errors.AsType[*goapi.Error](err); ok {
				h.Code = known.Code
			}
			h.End = errors.Is(err, io.EOF)
			return h
		}
		if len(msg) > most {
			t.Errorf("Recv = %d bytes, want at most %d", len(msg), most)
		}
		h.Messages = append(h.Messages, string(msg))
	}
}

// answerPipe writes an answer to what begins a stream.
func answerPipe(far net.Conn, answer []byte, oneByOne bool) {
	defer far.Close()
	if _, err := far.Read(make([]byte, 4096)); err != nil {
		return
	}
	var in io.Reader = bytes.NewReader(answer)
	if oneByOne {
		in = iotest.OneByteReader(in)
	}
	_, _ = io.Copy(far, struct{ io.Reader }{in}) // the stream may have had enough
}
