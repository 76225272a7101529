package etcd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/goapi-dev/goapi/registry"
)

// TestFeedRead: what a message makes of a mirror, and which revision it has
// then.
func TestFeedRead(t *testing.T) {
	put := func(node int, revision int64) *mvccpb.Event {
		kv := record1(node, "")
		kv.ModRevision = revision
		return &mvccpb.Event{Kv: kv}
	}
	removed := func(node int, revision int64) *mvccpb.Event {
		return &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: record1(node, "").GetKey(), ModRevision: revision}}
	}
	at := func(revision int64) *pb.ResponseHeader { return &pb.ResponseHeader{Revision: revision} }
	tests := []struct {
		name     string
		message  message
		err      error
		revision int64
		nodes    int
		partial  bool
	}{
		{"a node", message{answer: &pb.WatchResponse{Header: at(11), WatchId: 7, Events: []*mvccpb.Event{put(2, 11)}}}, nil, 11, 2, false},
		{"a node that goes", message{answer: &pb.WatchResponse{Header: at(11), WatchId: 7, Events: []*mvccpb.Event{removed(1, 11)}}}, nil, 11, 0, false},
		{"more is on its way", message{answer: &pb.WatchResponse{Header: at(99), WatchId: 7, Events: []*mvccpb.Event{put(2, 11), put(3, 12)}}}, nil, 12, 3, false},
		{"a fragment", message{answer: &pb.WatchResponse{Header: at(11), WatchId: 7, Fragment: true, Events: []*mvccpb.Event{put(2, 11)}}}, nil, 10, 2, true},
		{"progress", message{answer: &pb.WatchResponse{Header: at(50), WatchId: 7}}, nil, 50, 1, false},
		{"progress of all", message{answer: &pb.WatchResponse{Header: at(50), WatchId: -1}}, nil, 10, 1, false},
		{"what is old", message{answer: &pb.WatchResponse{Header: at(5), WatchId: 7}}, nil, 10, 1, false},
		{"of another", message{answer: &pb.WatchResponse{Header: at(11), WatchId: 8, Events: []*mvccpb.Event{put(2, 11)}}}, nil, 10, 1, false},
		{"compacted", message{answer: &pb.WatchResponse{Header: at(11), WatchId: 7, Canceled: true, CompactRevision: 11}}, errGap, 10, 1, false},
		{"refused", message{answer: &pb.WatchResponse{Header: at(11), WatchId: -1, Canceled: true, CancelReason: rpctypes.ErrGRPCPermissionDenied.Error()}}, rpctypes.ErrPermissionDenied, 10, 1, false},
		{"refused in few words", message{answer: &pb.WatchResponse{Header: at(11), WatchId: -1, Canceled: true, CancelReason: "etcdserver: invalid auth token"}}, rpctypes.ErrInvalidAuthToken, 10, 1, false},
		{"the end", message{err: io.EOF}, io.EOF, 10, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := mirror{prefix: "/p/"}
			m.begin()
			m.put(record1(1, ""))
			m.complete(10)
			f := &feed{id: 7, asked: time.Now()}
			if err := f.read(tt.message, &m); !errors.Is(err, tt.err) {
				t.Errorf("read() error = %v, want %v", err, tt.err)
			}
			nodes := 0
			for _, s := range m.records.Services() {
				nodes += len(s.Nodes)
			}
			if m.revision != tt.revision || nodes != tt.nodes || f.partial != tt.partial {
				t.Errorf("read() makes revision %d, %d nodes, partial: %t; want %d, %d, %t", m.revision, nodes, f.partial, tt.revision, tt.nodes, tt.partial)
			}
			if tt.message.err == nil && !f.asked.IsZero() {
				t.Error("read() leaves the server owing an answer")
			}
		})
	}
}

// TestTakeLosesNothing: of more messages than one state takes in, the rest is
// left for the next.
func TestTakeLosesNothing(t *testing.T) {
	const more = 3
	f := &feed{id: 7, messages: make(chan message, maxBatch+more)}
	w := &watcher{feed: f, mirror: mirror{prefix: "/p/"}}
	w.mirror.begin()
	w.mirror.complete(1)
	for i := range maxBatch + more {
		kv := record1(i, "")
		kv.ModRevision = int64(i + 2)
		f.messages <- message{answer: &pb.WatchResponse{
			Header: &pb.ResponseHeader{Revision: kv.GetModRevision()}, WatchId: 7, Events: []*mvccpb.Event{{Kv: kv}},
		}}
	}
	w.take(<-f.messages)
	if got := len(f.messages); got != more {
		t.Errorf("take() of %d messages leaves %d, want %d", maxBatch+more, got, more)
	}
	w.take(<-f.messages)
	if got := len(w.mirror.marks); got != maxBatch+more {
		t.Errorf("take() of %d nodes has %d of them", maxBatch+more, got)
	}
}

// TestNoPollingStorm: a server that ends every watch at once is asked less and
// less often.
func TestNoPollingStorm(t *testing.T) {
	t.Parallel()
	var watches atomic.Int32
	r := fakeServer(t, &fake{watch: func(stream pb.Watch_WatchServer) error {
		watches.Add(1)
		if err := stream.Send(&pb.WatchResponse{Header: &pb.ResponseHeader{Revision: 1}, Created: true}); err != nil {
			return err
		}
		return status.Error(codes.Unavailable, "go away")
	}})
	w, err := r.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	for err == nil || errors.Is(err, registry.ErrUnavailable) {
		_, err = w.Next(ctx)
	}
	if got := watches.Load(); got < 3 || got > 12 {
		t.Errorf("%d watches in 1.5 s, want a few, 12 at most", got)
	}
}

// TestGoesOnWithoutReading: after a break, nothing is read that is known, if
// etcd has the same history.
func TestGoesOnWithoutReading(t *testing.T) {
	t.Parallel()
	known := at(r1, "/micro/registry/s/1")
	known.Lease = 77
	restored := at(known, string(known.GetKey()))
	restored.ModRevision, restored.Lease = known.GetModRevision(), 78
	tests := []struct {
		name  string
		txn   func() (*pb.TxnResponse, error)
		reads int32
	}{
		{"the same", func() (*pb.TxnResponse, error) { return found(1, known), nil }, 1},
		{"one more", func() (*pb.TxnResponse, error) { return found(2, known), nil }, 2},
		{"none", func() (*pb.TxnResponse, error) { return found(1), nil }, 2},
		{"another lease", func() (*pb.TxnResponse, error) { return found(1, restored), nil }, 2},
		{"nonsense", func() (*pb.TxnResponse, error) { return &pb.TxnResponse{}, nil }, 2},
		{"compacted", func() (*pb.TxnResponse, error) { return nil, rpctypes.ErrGRPCCompacted }, 2},
		{"behind", func() (*pb.TxnResponse, error) { return nil, rpctypes.ErrGRPCFutureRev }, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var reads, watches atomic.Int32
			done := make(chan int64, 1)
			r := fakeServer(t, &fake{
				kv: func(*pb.RangeRequest) (*pb.RangeResponse, error) {
					reads.Add(1)
					return &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: 5}, Kvs: []*mvccpb.KeyValue{known}}, nil
				},
				txn: tt.txn,
				watch: func(stream pb.Watch_WatchServer) error {
					ask, err := stream.Recv()
					if err != nil {
						return err
					}
					created := &pb.WatchResponse{Header: &pb.ResponseHeader{Revision: 5}, Created: true}
					if err := stream.Send(created); err != nil || watches.Add(1) == 1 {
						return err // the first breaks at once
					}
					done <- ask.GetCreateRequest().GetStartRevision()
					<-stream.Context().Done()
					return nil
				},
			})
			w, err := r.Watch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if got, err := w.Next(ctx); err != nil || len(got) != 1 {
				t.Fatalf("Next() = %v, %v, want the node", got, err)
			}
			from := make(chan int64, 1)
			go func() { // ends with the second watch, or the test
				select {
				case revision := <-done:
					from <- revision
				case <-ctx.Done():
				}
				cancel()
			}()
			if got, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
				t.Fatalf("Next() after a break = %v, %v, want nothing but the end of the test", got, err)
			}
			if got, start := reads.Load(), <-from; got != tt.reads || start != 5 {
				t.Errorf("all is read %d times and followed from revision %d, want %d and 5", got, start, tt.reads)
			}
		})
	}
}

// found returns an answer about one record and how many there are.
func found(count int64, records ...*mvccpb.KeyValue) *pb.TxnResponse {
	answer := func(r *pb.RangeResponse) *pb.ResponseOp {
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: r}}
	}
	return &pb.TxnResponse{Responses: []*pb.ResponseOp{
		answer(&pb.RangeResponse{Kvs: records}), answer(&pb.RangeResponse{Count: count}),
	}}
}

// TestCompactedWhileReading: reading begins again, and ends when it is overtaken
// again and again.
func TestCompactedWhileReading(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		gaps int32
		want error
	}{{1, nil}, {2, nil}, {3, registry.ErrUnavailable}} {
		var gaps atomic.Int32
		r := fakeServer(t, &fake{kv: func(ask *pb.RangeRequest) (*pb.RangeResponse, error) {
			header := &pb.ResponseHeader{Revision: 10}
			switch {
			case ask.GetCountOnly():
				return &pb.RangeResponse{Header: header}, nil
			case ask.GetRevision() == 0:
				return &pb.RangeResponse{Header: header, More: true, Kvs: []*mvccpb.KeyValue{at(r1, "/micro/registry/s/1")}}, nil
			case gaps.Add(1) <= tt.gaps:
				return nil, rpctypes.ErrGRPCCompacted
			}
			return &pb.RangeResponse{Header: header, Kvs: []*mvccpb.KeyValue{at(r2, "/micro/registry/s/2")}}, nil
		}})
		got, err := r.List(t.Context())
		if !errors.Is(err, tt.want) || err == nil && len(got[0].Nodes) != 2 {
			t.Errorf("List() that is overtaken %d times = %v, %v, want %v", tt.gaps, got, err, tt.want)
		}
	}
}

// TestSenselessAnswers: what a server says may be nonsense, and ends all the
// same.
func TestSenselessAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer *pb.RangeResponse
		want   error
	}{
		{"nothing", &pb.RangeResponse{}, nil},
		{"more of nothing", &pb.RangeResponse{More: true}, nil},
		{"the same for ever", &pb.RangeResponse{More: true, Kvs: []*mvccpb.KeyValue{at(r1, "/micro/registry/s/1")}}, registry.ErrUnavailable},
		{"null", &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{{}}}, nil},
	}
	for _, tt := range tests {
		r := fakeServer(t, &fake{kv: func(*pb.RangeRequest) (*pb.RangeResponse, error) { return tt.answer, nil }})
		if got, err := r.List(t.Context()); !errors.Is(err, tt.want) {
			t.Errorf("List() of %s = %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

// TestLaggingMember: one that does not have yet what was read is not followed,
// and soon is.
func TestLaggingMember(t *testing.T) {
	t.Parallel()
	var watches atomic.Int32
	r := fakeServer(t, &fake{watch: func(stream pb.Watch_WatchServer) error {
		revision := int64(watches.Add(1)) - 2 // what is read has revision 1
		if err := stream.Send(&pb.WatchResponse{Header: &pb.ResponseHeader{Revision: revision}, Created: true}); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	}})
	w, err := r.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if got, err := w.Next(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("Next() = %v, %v, want the empty state", got, err)
	}
	if got := watches.Load(); got != 3 {
		t.Errorf("%d watches, want the third to be the first that does not lag", got)
	}
}

// TestProxyOfEtcd: one that never says that it is there is borne, as long as
// it answers calls.
func TestProxyOfEtcd(t *testing.T) {
	t.Parallel()
	var reads, watches atomic.Int32
	again := make(chan struct{})
	known := at(r1, "/micro/registry/s/1")
	known.Lease = 77
	r := fakeServer(t, &fake{
		kv: func(ask *pb.RangeRequest) (*pb.RangeResponse, error) {
			if !ask.GetCountOnly() {
				reads.Add(1)
			}
			return &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: 5}, Kvs: []*mvccpb.KeyValue{known}}, nil
		},
		txn: func() (*pb.TxnResponse, error) { return found(1, known), nil },
		watch: func(stream pb.Watch_WatchServer) error {
			if err := stream.Send(&pb.WatchResponse{Header: &pb.ResponseHeader{Revision: 5}, Created: true}); err != nil {
				return err
			}
			if watches.Add(1) == 2 {
				close(again)
			}
			<-stream.Context().Done()
			return nil
		},
	})
	w, err := r.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if got, err := w.Next(t.Context()); err != nil || len(got) != 1 {
		t.Fatalf("Next() = %v, %v, want the node", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() { // ends with the second watch, or the test
		select {
		case <-again:
		case <-ctx.Done():
		}
		cancel()
	}()
	if got, err := w.Next(ctx); !errors.Is(err, context.Canceled) || watches.Load() != 2 || reads.Load() != 1 {
		t.Errorf("Next() = %v, %v after %d watches and %d reads, want nothing, after two and one", got, err, watches.Load(), reads.Load())
	}
}

// TestFarBehind: of what happened in a long time all is read, rather than told.
func TestFarBehind(t *testing.T) {
	t.Parallel()
	r := fakeServer(t, &fake{watch: func(stream pb.Watch_WatchServer) error {
		return stream.Send(&pb.WatchResponse{Header: &pb.ResponseHeader{Revision: maxBehind + 2}, Created: true})
	}})
	if _, err := r.newFeed(t.Context(), 1); !errors.Is(err, errGap) {
		t.Errorf("newFeed() error = %v, want %v", err, errGap)
	}
}

// TestConcurrentLogin: many who find that the token has expired ask for one.
func TestConcurrentLogin(t *testing.T) {
	t.Parallel()
	var logins atomic.Int32
	r := fakeServer(t, &fake{login: func() string { logins.Add(1); return "fresh" }})
	r.login.user = "user"
	<-r.login.current
	r.login.current <- "stale"
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if token, err := r.login.token(t.Context(), "stale"); token != "fresh" || err != nil {
				t.Errorf("token() = %q, %v, want fresh", token, err)
			}
		})
	}
	wg.Wait()
	if got := logins.Load(); got != 1 {
		t.Errorf("%d logins, want 1", got)
	}
}

var r1, r2 = record1(1, ""), record1(2, "")

// at returns a record with another key.
func at(kv *mvccpb.KeyValue, key string) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: []byte(key), Value: kv.GetValue(), ModRevision: kv.GetModRevision()}
}

// fake is a server that says what the test wants. Without functions it is empty
// and its watches are quiet.
type fake struct {
	pb.UnimplementedKVServer
	pb.UnimplementedWatchServer
	pb.UnimplementedAuthServer

	kv    func(*pb.RangeRequest) (*pb.RangeResponse, error)
	txn   func() (*pb.TxnResponse, error)
	watch func(pb.Watch_WatchServer) error
	login func() string
}

func (f *fake) Range(_ context.Context, ask *pb.RangeRequest) (*pb.RangeResponse, error) {
	if f.kv != nil {
		return f.kv(ask)
	}
	return &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: 1}}, nil
}

func (f *fake) Txn(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error) { return f.txn() }

func (f *fake) Watch(stream pb.Watch_WatchServer) error { return f.watch(stream) }

func (f *fake) Authenticate(context.Context, *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	return &pb.AuthenticateResponse{Token: f.login()}, nil
}

// fakeServer returns a registry on a fake server. Both end with the test.
func fakeServer(t *testing.T, f *fake) *Registry {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	pb.RegisterKVServer(s, f)
	pb.RegisterWatchServer(s, f)
	pb.RegisterAuthServer(s, f)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }() // ends with the server
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	conn, err := dial(target{hosts: []string{l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	r := newRegistry(conn, target{name: "fake", prefix: defaultPrefix + "/"}, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { r.Close() })
	return r
}
