package grpc_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/goapi-dev/goapi"
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

// serveCapture starts a server that writes what a recorded one wrote on its
// first connection, the answer to a call once that is here.
func serveCapture(t *testing.T, name string) *registry.Node {
	t.Helper()
	answers := readServerSide(t, name)
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
		replay(conn, answers)
	}()
	t.Cleanup(func() {
		_ = ln.Close() // ends Accept, whatever it says
		<-done
	})
	return &registry.Node{ID: "n1", Address: ln.Addr().String()}
}

// replay writes the frames of the connection, then those of the first stream
// when the caller has ended it.
func replay(conn net.Conn, answers []byte) {
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	first := 0
	for first < len(answers) && answers[first+8] == 0 { // of no stream
		first += frameSize(answers[first:])
	}
	if _, err := conn.Write(answers[:first]); err != nil {
		return
	}
	frames := http2.NewFramer(io.Discard, conn)
	for {
		f, err := frames.ReadFrame()
		if err != nil {
			return
		}
		if f.Header().StreamID == 1 && f.Header().Flags.Has(http2.FlagDataEndStream) {
			if _, err := conn.Write(answers[first:]); err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, conn) // until the caller closes
			return
		}
	}
}

// frameSize is the size of an HTTP/2 frame with its header.
func frameSize(b []byte) int { return 9 + int(b[0])<<16 + int(b[1])<<8 + int(b[2]) }

// readServerSide returns what a recorded server wrote on its first connection
// for the first stream.
func readServerSide(t *testing.T, name string) []byte {
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
		if conn == 1 && dir == "S>C" {
			all = append(all, rest[:size]...)
		}
		b = rest[size:]
	}
	end := 0
	for end < len(all) && all[end+8] <= 1 {
		end += frameSize(all[end:])
	}
	return all[:end]
}
