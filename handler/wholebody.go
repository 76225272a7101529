package handler

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/goapi-dev/goapi"
)

const (
	// bodyTime bounds the time that a body takes which is read whole.
	bodyTime = 30 * time.Second
	// maxPrealloc is allocated for a body on the word of its length.
	maxPrealloc = 64 << 10
)

// readBody returns the whole body, of at most limit bytes: 413 for more, 408
// for a client that is too slow, 400 for a body that breaks off.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	return readBodyInto(new(bytes.Buffer), w, r, limit)
}

// readBodyInto is readBody into an empty buffer, whose body it returns.
func readBodyInto(buf *bytes.Buffer, w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, &http.MaxBytesError{Limit: limit}
	}
	if r.ContentLength == 0 || r.Body == nil {
		return nil, nil
	}
	// The server takes the deadline back at the end of the body. A writer that
	// has none bounds its client itself.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	buf.Grow(int(min(max(r.ContentLength, 0), maxPrealloc)) + bytes.MinRead)
	_, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	var tooLong *http.MaxBytesError
	switch {
	case err == nil:
		return buf.Bytes(), nil
	case errors.As(err, &tooLong):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, goapi.NewError(http.StatusRequestTimeout, "the body did not come in time", err)
	case r.Context().Err() != nil && !errors.Is(err, io.ErrUnexpectedEOF): // a client that has only ended what it sends reads on
		return nil, clientGone(err)
	}
	return nil, goapi.NewError(http.StatusBadRequest, "the body broke off or is malformed", err)
}

// forgetBody ends the connection with the answer: the server would wait for a
// body that nobody reads.
func forgetBody(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now()) // a writer that has none does not wait
}
