package client

import (
	"context"
	"errors"

	"github.com/goapi-dev/goapi/registry"
)

// ErrStreamOver is returned by Send and CloseSend of a Stream that is over; Recv
// tells why.
var ErrStreamOver = errors.New("client: the stream is over")

// A Streamer opens streams of messages in one protocol. It may be used
// concurrently.
type Streamer interface {
	// Stream opens a stream of a method: req is as for a Caller, but its Body
	// is not sent. The context ends the stream, not only its opening; its
	// deadline, if it has one, travels to the service. Errors are those of
	// Caller, and so is Sent.
	Stream(ctx context.Context, n *registry.Node, req *Request) (Stream, error)
}

// A Stream is a call in which both sides may send any number of messages, each
// encoded as the request's ContentType says. One goroutine may send while
// another receives; Close may be called by any, at any time.
type Stream interface {
	// Send sends a message. It blocks while the service does not read, and
	// keeps nothing of msg. Its error is ErrStreamOver, also after CloseSend.
	Send(msg []byte) error
	// CloseSend says that no more is sent. It is called by the one who sends.
	CloseSend() error
	// Recv returns the next message, which is the caller's, or io.EOF when the
	// service has ended the stream well. An error that the service ended it
	// with is a *goapi.Error; so are a message larger than MaxReply (502) and a
	// deadline that passed (504). Any other error means that the stream broke
	// off.
	Recv() ([]byte, error)
	// Close ends the stream at once and releases it; the service's side is
	// cancelled, unless it has ended. What blocks in Send or Recv returns. It must
	// be called, also after an error, and may be again.
	Close() error
}
