package handler

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
)

// The content types of gRPC. Each may be followed by "+" and how messages are
// encoded.
const (
	typeGRPC        = "application/grpc"
	typeGRPCWeb     = "application/grpc-web"
	typeGRPCWebText = "application/grpc-web-text"
)

// trailerFlag marks the frame that holds the trailers of gRPC-Web.
const trailerFlag = 0x80

// A dialect is how gRPC is spoken to the client.
type dialect string

const (
	dialectGRPC dialect = typeGRPC
	dialectWeb  dialect = typeGRPCWeb
	dialectText dialect = typeGRPCWebText
)

// is says that a content type is of the dialect.
func (d dialect) is(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, string(d))
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// isGRPCType says that a content type is that of gRPC itself.
func isGRPCType(contentType string) bool { return dialectGRPC.is(contentType) }

// dialectIn returns the dialect of a content type; empty for none.
func dialectIn(contentType string) dialect {
	for _, d := range []dialect{dialectGRPC, dialectWeb, dialectText} {
		if d.is(contentType) {
			return d
		}
	}
	return ""
}

// isGRPC says that a request is gRPC's, or gRPC-Web's.
func isGRPC(r *http.Request) bool { return dialectIn(r.Header.Get("Content-Type")) != "" }

// dialectOf returns how the client of r speaks, or why that is not understood.
func dialectOf(r *http.Request) (dialect, error) {
	contentType := r.Header.Get("Content-Type")
	d := dialectIn(contentType)
	switch {
	case d == "":
		return "", goapi.NewError(http.StatusUnsupportedMediaType, "the content type "+quote(contentType)+" is none of gRPC", nil)
	case r.Method != http.MethodPost:
		err := goapi.NewError(http.StatusMethodNotAllowed, "a call of gRPC is a POST", nil)
		err.Header = http.Header{"Allow": {http.MethodPost}}
		return "", err
	case d == dialectGRPC && r.ProtoMajor < 2:
		return "", goapi.NewError(http.StatusHTTPVersionNotSupported, "gRPC needs HTTP/2; over HTTP/1.1 use gRPC-Web", nil)
	}
	return d, nil
}

// toService returns the content type of gRPC for one of the dialect.
func (d dialect) toService(contentType string) string { return typeGRPC + contentType[len(d):] }

// toClient returns the content type of the dialect for one of gRPC.
func (d dialect) toClient(contentType string) string {
	if !isGRPCType(contentType) {
		return string(d)
	}
	return string(d) + contentType[len(typeGRPC):]
}

// encode returns a piece of the answer as it goes to the client. Pieces of text
// are whole in themselves: the client need not wait for the next.
func (d dialect) encode(p []byte) []byte {
	if d != dialectText {
		return p
	}
	return base64.StdEncoding.AppendEncode(nil, p)
}

// endWeb sends the trailers as the last frame of the body.
func (s *grpcStream) endWeb(trailer http.Header) error {
	frame := make([]byte, 5, 256)
	frame[0] = trailerFlag
	for _, name := range slices.Sorted(maps.Keys(trailer)) {
		if forOneHop(name) || forHead(name) {
			continue
		}
		for _, value := range trailer[name] {
			frame = append(frame, strings.ToLower(name)+": "+value+"\r\n"...)
		}
	}
	binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-5)) //nolint:gosec // it came within MaxHeader
	if _, err := s.w.Write(s.dialect.encode(frame)); err != nil {
		return clientGone(err)
	}
	return nil
}

// forHead says that a field of an answer without a body is about HTTP.
func forHead(name string) bool {
	switch name {
	case "Content-Type", "Content-Length", "Date", "Server":
		return true
	}
	return false
}

var errBase64 = errors.New("handler: the body is no base64")

// base64Reader decodes what src holds: any number of pieces of base64, each with
// padding of its own if it needs some.
type base64Reader struct {
	src  io.Reader
	text []byte // read, but not decoded: less than a group
	out  []byte // decoded, but not read
	buf  [1 << 10]byte
	err  error
}

const (
	textGroup  = 4 // of letters,
	plainGroup = 3 // which are as many bytes
)

// Read implements io.Reader.
func (b *base64Reader) Read(p []byte) (int, error) {
	for len(b.out) == 0 && b.err == nil {
		b.fill()
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	if len(b.out) > 0 || n > 0 {
		return n, nil
	}
	return 0, b.err
}

// fill decodes the next letters.
func (b *base64Reader) fill() {
	rest := copy(b.buf[:], b.text)
	n, err := b.src.Read(b.buf[rest:])
	text := b.buf[:rest+n]
	whole := len(text) - len(text)%textGroup
	b.out = make([]byte, 0, whole/textGroup*plainGroup)
	for start := 0; start < whole; {
		end := pieceEnd(text[start:whole]) + start
		var decodeErr error
		if b.out, decodeErr = base64.StdEncoding.AppendDecode(b.out, text[start:end]); decodeErr != nil {
			b.err = errBase64
			return
		}
		start = end
	}
	b.text = slices.Clone(text[whole:])
	if b.err = err; err == io.EOF && len(b.text) > 0 {
		b.err = errBase64
	}
}

// pieceEnd returns where a piece ends: behind its padding, or with the text.
func pieceEnd(text []byte) int {
	pad := bytes.IndexByte(text, '=')
	if pad < 0 {
		return len(text)
	}
	return pad - pad%textGroup + textGroup
}
