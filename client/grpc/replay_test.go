package grpc_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/internal/mucp"
	"github.com/goapi-dev/goapi/registry"
)

const (
	protoReq = "\n\x04john\x10\x070\x81\x80\x80\x80\x80\x80\x80\x10"
	protoRes = "\n\nHello john\x10\x81\x80\x80\x80\x80\x80\x80\x10"
	jsonReq  = `{"name":"john", "age":7, "big":"9007199254740993"}`
	jsonRes  = `{"message":"Hello john", "big":"9007199254740993"}`
	v2Res    = `{"message":"Hello john","big":"9007199254740993"}`
)

// Calls that go-micro's own servers answered, byte by byte.
func TestCallsAsRecorded(t *testing.T) {
	tests := []struct{ capture, contentType, body, want string }{
		{"v6-call-default.txt", mucp.Protobuf, protoReq, protoRes},
		{"v6-call-proto.txt", mucp.Protobuf, protoReq, protoRes},
		{"v6-call-json.txt", mucp.JSON, jsonReq, jsonRes},
		{"v2-call-default.txt", mucp.Protobuf, protoReq, protoRes},
		{"v2-call-json.txt", mucp.JSON, jsonReq, v2Res},
	}
	for _, tt := range tests {
		t.Run(tt.capture, func(t *testing.T) {
			n := serveCapture(t, tt.capture)
			req := request()
			req.ContentType, req.Body = tt.contentType, []byte(tt.body)
			res, err := protocol{}.Caller(t, nil).Call(t.Context(), n, req)
			if err != nil || string(res.Body) != tt.want || res.ContentType != tt.contentType {
				t.Errorf("Call = %+v, %v, want %q", res, err, tt.want)
			}
		})
	}
}

func TestErrorsAsRecorded(t *testing.T) {
	bad := goapi.Error{Code: 400, ID: "greeter.fail", Detail: "bad name badrequest"}
	plain := goapi.Error{Code: 500, ID: "greeter", Detail: "a plain error"}
	tests := []struct {
		capture string
		want    goapi.Error
	}{
		{"v6-err-badrequest.txt", bad},
		{"v6-err-plain.txt", plain},
		{"v2-err.txt", bad},
		{"v2-err-plain.txt", plain},
	}
	for _, tt := range tests {
		t.Run(tt.capture, func(t *testing.T) {
			n := serveCapture(t, tt.capture)
			_, err := protocol{}.Caller(t, nil).Call(t.Context(), n, request())
			var got *goapi.Error
			if !errors.As(err, &got) || got.Code != tt.want.Code || got.ID != tt.want.ID || got.Detail != tt.want.Detail {
				t.Errorf("Call error = %v, want %v", err, &tt.want)
			}
		})
	}
}

// Streams of v6: what we send is what its client was recorded to send, and we
// read what its server answered.
func TestStreamsAsRecorded(t *testing.T) {
	unlucky := &goapi.Error{Code: 400, ID: "greeter.pingpong", Detail: "unlucky"}
	tests := []struct {
		capture, endpoint string
		send, want        []string
		err               error
	}{
		{"v6-stream.txt", "Greeter.Count", []string{"\b\x03"}, []string{"", "\b\x01", "\b\x02"}, io.EOF},
		{"v6-pingpong.txt", "Greeter.PingPong", []string{"\b\x01", "\b\x02", "\b\r"}, []string{"\b\x01", "\b\x02"}, unlucky},
	}
	for _, tt := range tests {
		t.Run(tt.capture, func(t *testing.T) {
			ours := make(chan []byte, 1)
			n := serveAnswers(t, readSide(t, tt.capture, "S>C"), len(tt.send), ours)
			req := request()
			req.Endpoint, req.ContentType = tt.endpoint, mucp.Protobuf
			s, err := protocol{}.Caller(t, nil).(client.Streamer).Stream(t.Context(), n, req)
			if err != nil {
				t.Fatalf("Stream error = %v", err)
			}
			defer s.Close()
			for _, msg := range tt.send {
				if err := s.Send([]byte(msg)); err != nil {
					t.Fatalf("Send error = %v", err)
				}
			}
			for _, want := range tt.want {
				if got, err := s.Recv(); err != nil || string(got) != want {
					t.Fatalf("Recv = %q, %v, want %q", got, err, want)
				}
			}
			_, err = s.Recv()
			var known *goapi.Error
			if errors.As(tt.err, &known) && cmp.Diff(tt.err, err) != "" || known == nil && !errors.Is(err, tt.err) {
				t.Errorf("Recv error = %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(requestOf(t, readSide(t, tt.capture, "C>S")), requestOf(t, <-ours)); diff != "" {
				t.Errorf("what was sent (-want +got):\n%s", diff)
			}
		})
	}
}

// requestOf returns the header fields of a stream that matter, and then its
// messages with their frames, from what a client wrote.
func requestOf(t *testing.T, b []byte) []string {
	t.Helper()
	b = bytes.TrimPrefix(b, []byte(http2.ClientPreface))
	frames := http2.NewFramer(io.Discard, bytes.NewReader(b))
	frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var request []string
	for {
		f, err := frames.ReadFrame()
		if err != nil {
			return request
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				switch field.Name {
				case ":method", ":scheme", ":path", "te", "content-type":
					request = append(request, field.Name+": "+field.Value)
				}
			}
			slices.Sort(request)
		case *http2.DataFrame:
			request = append(request, string(f.Data()))
		}
	}
}

// serveCapture starts a server that writes what a recorded one wrote on its
// first connection, the answer to a call once that is here.
func serveCapture(t *testing.T, name string) *registry.Node {
	t.Helper()
	return serveAnswers(t, readSide(t, name, "S>C"), 1, nil)
}

// serveAnswers starts a server that writes the answers on its first connection,
// those of the first stream after so many messages of it. What the client sent
// until then goes to heard, unless that is nil.
func serveAnswers(t *testing.T, answers []byte, messages int, heard chan<- []byte) *registry.Node {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		replay(conn, answers, messages, heard)
	}()
	t.Cleanup(func() {
		_ = ln.Close() // ends Accept, whatever it says
		<-done
	})
	return &registry.Node{ID: "n1", Address: ln.Addr().String()}
}

// replay writes the frames of the connection, then those of the first stream.
func replay(conn net.Conn, answers []byte, messages int, heard chan<- []byte) {
	var all bytes.Buffer
	in := io.TeeReader(conn, &all)
	if _, err := io.ReadFull(in, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	first := 0
	for first < len(answers) && answers[first+8] == 0 { // of no stream
		first += frameSize(answers[first:])
	}
	if _, err := conn.Write(answers[:first]); err != nil {
		return
	}
	frames := http2.NewFramer(io.Discard, in)
	for messages > 0 {
		f, err := frames.ReadFrame()
		if err != nil {
			return
		}
		if h := f.Header(); h.StreamID == 1 && h.Type == http2.FrameData && h.Length > 0 {
			messages--
		}
	}
	if heard != nil {
		heard <- all.Bytes()
	}
	if _, err := conn.Write(answers[first:]); err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, conn) // until the caller closes
}

// frameSize is the size of an HTTP/2 frame with its header.
func frameSize(b []byte) int { return 9 + int(b[0])<<16 + int(b[1])<<8 + int(b[2]) }

// readSide returns what one side was recorded to write on the first connection
// for the first stream.
func readSide(t *testing.T, name, side string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for {
		_, after, ok := bytes.Cut(b, []byte("\n===== conn "))
		if !ok {
			break
		}
		line, rest, _ := bytes.Cut(after, []byte("\n"))
		var (
			conn, size int
			dir        string
		)
		if _, err := fmt.Sscanf(strings.Replace(string(line), "EOF ", "", 1), "%d %s %d bytes", &conn, &dir, &size); err != nil {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		if conn == 1 && dir == side {
			all = append(all, rest[:size]...)
		}
		b = rest[size:]
	}
	end := 0
	if side == "C>S" {
		end = len(http2.ClientPreface)
	}
	for end < len(all) && all[end+8] <= 1 {
		end += frameSize(all[end:])
	}
	return all[:end]
}
