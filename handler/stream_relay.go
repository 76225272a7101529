package handler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/internal/mucp"
)

// Why a stream ended, beside what the service says of it and [clientGone].
var (
	errGoingAway = errors.New("handler: the gateway is going away")
	errSilent    = errors.New("handler: nothing was sent")
	errLeft      = errors.New("handler: the client has left") // as it should
	errCutOff    = errors.New("handler: the request was cut off")
)

// leaving is how long a client that nothing can be sent to is asked why.
const leaving = time.Second

// A sender sends a client what there is for it. An error is that the client is
// gone.
type sender interface {
	// send sends a message.
	send(msg []byte) error
	// ping sends a sign of life.
	ping() error
}

// A carrier takes the messages of a stream to one client, and from it. All of
// it but feed is called by one goroutine.
type carrier interface {
	sender
	// begin begins the answer. It is called once, before anything is sent.
	begin() error
	// feed takes what the client sends to the service. It returns when there is
	// no more or the stream is over; an error is what ends the stream.
	feed(stream client.Stream) error
	// end tells the client how the stream has ended: nil is well. After it, feed
	// returns.
	end(err error)
}

// run carries the messages of an open stream until it ends. It returns an error
// if the answer has not begun.
func (s *session) run(ctx context.Context, cancel context.CancelCauseFunc) error {
	if s.patience == 0 {
		if err := s.begin(); err != nil {
			return err
		}
	}
	s.idle = time.NewTimer(s.opts.Idle)
	defer s.idle.Stop()

	fed := make(chan struct{})
	go func() { // ends with the stream, and with the carrier
		defer close(fed)
		if err := s.carrier.feed(s.stream); err != nil {
			cancel(err)
		}
	}()
	msgs, over := make(chan []byte), make(chan error, 1)
	go s.receive(ctx, msgs, over)

	err := s.relay(ctx, msgs, over)
	cancel(nil)
	_ = s.stream.Close() // it is over, however that goes
	for range msgs {     // until receive has returned
	}
	if err == nil && !s.begun {
		err = s.begin() // without a message
	}
	if s.begun {
		s.finish(err)
		err = nil
	}
	<-fed
	return s.answerable(err)
}

// receive takes messages from the service one by one: none is taken while the
// one before is on its way to the client.
func (s *session) receive(ctx context.Context, msgs chan<- []byte, over chan<- error) {
	defer close(msgs)
	for first := true; ; first = false {
		msg, err := s.stream.Recv()
		if first {
			s.hear(ctx, err)
		}
		if err != nil {
			over <- err
			return
		}
		select {
		case msgs <- msg:
		case <-ctx.Done():
			return
		}
	}
}

// hear says what the first message of the service is to its node, or err in place
// of one.
func (s *session) hear(ctx context.Context, err error) {
	var known *goapi.Error
	switch {
	case err == nil, errors.Is(err, io.EOF):
		s.try.Answered()
	case ctx.Err() != nil: // it was given up
	case errors.As(err, &known):
		judge(s.try, true, err)
	default:
		s.try.Failed()
	}
}

// relay takes messages to the client until the stream ends, and returns why:
// nil is that the service ended it well.
func (s *session) relay(ctx context.Context, msgs <-chan []byte, over <-chan error) error {
	ping := time.NewTicker(s.opts.Ping)
	defer ping.Stop()
	patience := time.NewTimer(s.patience)
	defer patience.Stop()
	for {
		var err error
		select {
		case msg, ok := <-msgs:
			if !ok {
				msgs = nil // over, or ctx, says why
				continue
			}
			s.idle.Reset(s.opts.Idle)
			err = s.deliver(ctx, msg)
		case err := <-over:
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case ctx.Err() != nil:
				return causeOf(ctx)
			}
			return err
		case <-patience.C:
			err = s.begin()
		case <-ping.C:
			if s.begun {
				err = s.lost(ctx, s.carrier.ping())
			}
		case <-s.idle.C:
			return errSilent
		case <-s.opts.Done:
			return errGoingAway
		case <-ctx.Done():
			return causeOf(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// begin begins the answer, if it has not begun.
func (s *session) begin() error {
	if s.begun {
		return nil
	}
	if err := s.carrier.begin(); err != nil {
		return err
	}
	s.begun = true
	return nil
}

// deliver takes a message to the client.
func (s *session) deliver(ctx context.Context, msg []byte) error {
	if s.request.ContentType == mucp.JSON && !isJSON(msg) {
		return notJSON(s.request.Service)
	}
	if err := s.begin(); err != nil {
		return err
	}
	return s.lost(ctx, s.carrier.send(msg))
}

// lost returns why a client could not be sent anything, if err is not nil. Feed
// may be about to say so.
func (s *session) lost(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, net.ErrClosed) {
		select {
		case <-ctx.Done():
		case <-time.After(leaving):
		}
	}
	if ctx.Err() != nil {
		return causeOf(ctx)
	}
	return clientGone(err)
}

// causeOf returns why the context of a stream ended.
func causeOf(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return errCutOff // with the request's
}

// finish ends an answer that has begun.
func (s *session) finish(err error) {
	s.carrier.end(err)
	if err != nil && !errors.Is(err, errLeft) {
		s.ex.Err = s.answerable(err)
	}
}

// answerable returns err as clients may see it; nil stays nil.
func (s *session) answerable(err error) error {
	var (
		known *goapi.Error
		wrong *violation
	)
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.As(err, &wrong):
		return goapi.NewError(http.StatusBadRequest, wrong.detail, err)
	case errors.Is(err, errGoingAway):
		return unavailable("the gateway is going away", err)
	case errors.Is(err, errSilent):
		return goapi.NewError(http.StatusGatewayTimeout, fmt.Sprintf("neither side has sent anything for %v", s.opts.Idle), err)
	case errors.Is(err, errCutOff):
		return clientGone(err)
	}
	return goapi.NewError(http.StatusBadGateway, "service "+s.request.Service+" broke off the stream", err)
}
