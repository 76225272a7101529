package handler

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/goapi-dev/goapi"
)

// bodyTime bounds the time that a body takes which is read whole.
const bodyTime = 30 * time.Second

// A wholeBody is the body of a request that is held whole, until it is released.
type wholeBody struct {
	room *Bodies // nil for no bound
	held int64   // of it
	data []byte
}

// release gives back what the body holds: nobody needs it any more.
func (b *wholeBody) release() {
	if b.room != nil {
		b.room.give(b.held)
	}
	b.held, b.data = 0, nil
}

// reuse is release, but a body that is small leaves its memory to the next.
func (b *wholeBody) reuse() {
	data := b.data
	b.release()
	if cap(data) <= smallBody+bytes.MinRead {
		b.data = data[:0]
	}
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
	most, known := limit, r.ContentLength > 0
	if known {
		most = r.ContentLength
	}
	err := b.fill(r.Context(), http.MaxBytesReader(w, r.Body, limit), most, known)
	var (
		tooLong *http.MaxBytesError
		refused *goapi.Error
	)
	switch {
	case err == nil:
		return b.data, nil
	case errors.As(err, &tooLong), errors.As(err, &refused):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, goapi.NewError(http.StatusRequestTimeout, "the body did not come in time", err)
	case r.Context().Err() != nil && !errors.Is(err, io.ErrUnexpectedEOF): // a client that has only ended what it sends reads on
		return nil, clientGone(err)
	}
	return nil, goapi.NewError(http.StatusBadRequest, "the body broke off or is malformed", err)
}

// fill reads to the end of src, which comes after most bytes, or if they are not
// known, not later.
func (b *wholeBody) fill(ctx context.Context, src io.Reader, most int64, known bool) error {
	for {
		if len(b.data) == cap(b.data) {
			if err := b.grow(ctx, most, known); err != nil {
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

// grow makes room for more. The end is found in what is beyond.
func (b *wholeBody) grow(ctx context.Context, most int64, known bool) error {
	size := b.next(most, known)
	if b.room != nil && size > smallBody && b.room.share(size) > b.held {
		more := b.room.share(size) - b.held
		if err := b.room.take(ctx, more); err != nil {
			return err
		}
		b.held += more
	}
	b.data = append(make([]byte, 0, size+bytes.MinRead), b.data...)
	return nil
}

// next returns the size to grow to: first a little, and when that has come all that
// was announced; where nothing was, twice as much each time.
func (b *wholeBody) next(most int64, known bool) int64 {
	has, little := int64(cap(b.data)), min(most, smallBody)
	switch {
	case has >= most:
		return 2 * has
	case !known:
		return min(most, 2*has)
	case has < little:
		return little
	}
	return most
}

// forgetBody ends the connection with the answer: the server would wait for a
// body that nobody reads.
func forgetBody(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now()) // a writer that has none does not wait
}
