package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

const (
	// quiet is how long a server may say nothing before it is asked whether it
	// is there, and answerWait how long it may take to answer.
	quiet      = time.Second
	answerWait = 2 * time.Second
	// maxBehind is how many revisions a server is asked to tell of. To read all
	// again takes it less time than to look through more.
	maxBehind = 100_000
)

// errBehind says that a member does not yet have the revision to go on from.
var errBehind = errors.New("registry: a member of etcd lags behind")

// A feed is what etcd tells of the keys below a prefix: each change as it
// comes. While nobody reads, etcd holds back. It is used by one goroutine at a
// time.
type feed struct {
	stream   pb.Watch_WatchClient
	cancel   context.CancelFunc
	id       int64
	messages chan message

	begun   time.Time
	heard   time.Time // when the server was last heard of
	asked   time.Time // when it was asked whether it is there; zero if it is
	partial bool      // more of what belongs together is to come
}

// message is what a feed got: an answer or its end.
type message struct {
	answer *pb.WatchResponse
	err    error
}

// newFeed starts a feed of all changes after a revision. The caller closes it.
//
// It tells of that revision again, which changes nothing: a feed that has
// nothing to tell yet would have no answer to whether the server is there.
func (r *Registry) newFeed(ctx context.Context, revision int64) (f *feed, err error) {
	err = r.call(ctx, func(ctx context.Context) error {
		f, err = r.openFeed(ctx, revision)
		return err
	})
	return f, err
}

func (r *Registry) openFeed(ctx context.Context, revision int64) (*feed, error) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the feed outlives the call
	release := context.AfterFunc(ctx, cancel)
	f := &feed{cancel: cancel, messages: make(chan message, 16), begun: time.Now(), heard: time.Now()}
	err := f.open(life, r.watch, &pb.WatchCreateRequest{
		Key:            []byte(r.prefix),
		RangeEnd:       rangeEnd(r.prefix),
		StartRevision:  revision,
		ProgressNotify: true, // so that a quiet feed can go on where the latest revision was
		Fragment:       true,
	})
	if err == nil && !release() {
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	go f.receive(life) // ends with the feed
	return f, nil
}

// open asks for the feed and waits for the answer.
func (f *feed) open(ctx context.Context, client pb.WatchClient, ask *pb.WatchCreateRequest) (err error) {
	if f.stream, err = client.Watch(ctx); err != nil {
		return err
	}
	_ = f.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: ask}}) // Recv tells
	answer, err := f.stream.Recv()
	ahead := answer.GetHeader().GetRevision() - ask.GetStartRevision()
	switch {
	case err != nil:
		return err
	case answer.GetCanceled():
		return refusal(answer)
	case ahead < 0:
		return errBehind // or its store is another one
	case ahead > maxBehind:
		return errGap
	}
	f.id = answer.GetWatchId()
	return nil
}

// receive hands on what the server sends.
func (f *feed) receive(ctx context.Context) {
	for {
		answer, err := f.stream.Recv()
		select {
		case f.messages <- message{answer, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// close ends the feed.
func (f *feed) close() { f.cancel() }

// patience returns how much longer the silence of the server is borne.
func (f *feed) patience() time.Duration {
	if f.asked.IsZero() {
		return time.Until(f.heard.Add(quiet))
	}
	return time.Until(f.asked.Add(answerWait))
}

// dead sees to a silence that was borne long enough: it asks the server whether
// it is there, and says so when that had no answer.
func (f *feed) dead() bool {
	if len(f.messages) > 0 {
		return false
	}
	if !f.asked.IsZero() {
		return true
	}
	f.asked = time.Now()
	_ = f.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{
		ProgressRequest: &pb.WatchProgressRequest{}, // if it cannot be sent, nothing will answer
	}})
	return false
}

// read makes m what a message says. After an error the feed is of no more use.
func (f *feed) read(msg message, m *mirror) error {
	if msg.err != nil {
		return msg.err
	}
	f.heard, f.asked = time.Now(), time.Time{}
	answer := msg.answer
	if answer.GetCanceled() {
		return refusal(answer)
	}
	if answer.GetWatchId() != f.id {
		return nil // it tells that the server is there; older ones name a revision too soon
	}
	for _, e := range answer.GetEvents() {
		if e.GetType() == mvccpb.Event_DELETE {
			m.remove(string(e.GetKv().GetKey()))
		} else {
			m.put(e.GetKv())
		}
	}
	f.partial = answer.GetFragment()
	if f.partial {
		return nil
	}
	revision := answer.GetHeader().GetRevision()
	if n := len(answer.GetEvents()); n > 0 {
		revision = answer.GetEvents()[n-1].GetKv().GetModRevision() // more may be on its way
	}
	m.revision = max(m.revision, revision)
	return nil
}

// refusal returns why the server ended a feed.
func refusal(answer *pb.WatchResponse) error {
	if answer.GetCompactRevision() > 0 {
		return errGap
	}
	_, reason, ok := strings.Cut(answer.GetCancelReason(), "desc = ")
	if !ok {
		reason = answer.GetCancelReason()
	}
	if err := rpctypes.Error(errors.New(reason)); errors.As(err, new(rpctypes.EtcdError)) {
		return err
	}
	return fmt.Errorf("the watch was ended: %s", reason)
}
