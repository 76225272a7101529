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
			var m mirror
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

// TestConcurrentLogin: many who find that the token has expired ask for one.
func TestConcurrentLogin(t *testing.T) {
	t.Parallel()
	var logins atomic.Int32
	r := fakeServer(t, &fake{login: func() string { logins.Add(1); return "fresh" }})
	r.login.user, r.login.password = "user", "password"
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
	watch func(pb.Watch_WatchServer) error
	login func() string
}

func (f *fake) Range(_ context.Context, ask *pb.RangeRequest) (*pb.RangeResponse, error) {
	if f.kv != nil {
		return f.kv(ask)
	}
	return &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: 1}}, nil
}

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
