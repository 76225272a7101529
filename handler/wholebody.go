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
	// smallBody is allocated for a body on the word of its length, and taken from
	// no budget.
	smallBody = 64 << 10
)

// A wholeBody is the body of a request that is held whole, until it is released.
type wholeBody struct {
	budget *Budget // nil for no bound
	held   int64   // bytes that were taken from it
	data   []byte
}

// release gives back what the body holds: nobody needs it any more.
func (b *wholeBody) release() {
	b.budget.give(b.held)
	b.held, b.data = 0, nil
}

// read returns the whole body, of at most limit bytes: 413 for more, 408 for a
// client that is too slow, 400 for a body that breaks off, 503 where bodies hold
// as much as they may.
func (b *wholeBody) read(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, &http.MaxBytesError{Limit: limit}
	}
	if r.ContentLength == 0 || r.Body == nil {
		return nil, nil
	}
	// The server takes the deadline back at the end of the body. A writer that
	// has none bounds its client itself.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	most := limit
	if r.ContentLength > 0 {
		most = r.ContentLength
	}
	err := b.fill(http.MaxBytesReader(w, r.Body, limit), most)
	var (
		tooLong *http.MaxBytesError
		known   *goapi.Error
	)
	switch {
	case err == nil:
		return b.data, nil
	case errors.As(err, &tooLong), errors.As(err, &known):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, goapi.NewError(http.StatusRequestTimeout, "the body did not come in time", err)
	case r.Context().Err() != nil && !errors.Is(err, io.ErrUnexpectedEOF): // a client that has only ended what it sends reads on
		return nil, clientGone(err)
	}
	return nil, goapi.NewError(http.StatusBadRequest, "the body broke off or is malformed", err)
}

// fill reads to the end of src, which comes after most bytes.
func (b *wholeBody) fill(src io.Reader, most int64) error {
	for {
		if len(b.data) == cap(b.data) {
			if err := b.grow(most); err != nil {
				return err
			}
		}
		n, err := src.Read(b.data[len(b.data):cap(b.data)])
		b.data = b.data[:len(b.data)+n]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// grow makes room for more. Beyond a little it goes by what came, and not by what
// was announced, which costs a client nothing.
func (b *wholeBody) grow(most int64) error {
	size := max(2*int64(cap(b.data)), min(most, smallBody), bytes.MinRead)
	size = min(size, most) + bytes.MinRead // in which the end is found
	if size > smallBody+bytes.MinRead {
		if !b.budget.take(size - b.held) {
			return unavailable("the gateway holds as many large bodies as it takes", nil)
		}
		b.held = size
	}
	b.data = append(make([]byte, 0, size), b.data...)
	return nil
}

// forgetBody ends the connection with the answer: the server would wait for a
// body that nobody reads.
func forgetBody(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now()) // a writer that has none does not wait
}
