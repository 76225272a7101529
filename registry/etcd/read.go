package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// firstPage and maxPage are how many records are asked for at first and at
	// most, and pageBytes is how long those of a page are to be together.
	firstPage = 100
	maxPage   = 1000
	pageBytes = maxMessage / 2
	// maxReads is how often a read is begun again that compaction overtook.
	maxReads = 3
)

// errGap says that what happened since a revision cannot be told any more.
var errGap = errors.New("registry: etcd has forgotten what happened")

// read makes m what etcd holds below a prefix, as of one revision.
func (r *Registry) read(ctx context.Context, m *mirror, prefix string) error {
	for range maxReads {
		m.begin()
		revision, err := r.readPages(ctx, m, prefix)
		if err == nil {
			m.complete(revision)
			return nil
		}
		if !errors.Is(err, errGap) {
			return err
		}
	}
	return fmt.Errorf("%w: %s: it is compacted faster than it can be read", registry.ErrUnavailable, r.name)
}

// readPages puts all records below a prefix, and returns the revision that they
// are of. While it puts those of a page, the next one is asked for.
func (r *Registry) readPages(ctx context.Context, m *mirror, prefix string) (revision int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	pages := make(chan page)
	p := &pager{registry: r, ask: &pb.RangeRequest{Key: []byte(prefix), RangeEnd: rangeEnd(prefix), Limit: firstPage}}
	go func() { // ends with the last page, or soon after ctx
		defer close(pages)
		for more := true; more; {
			next := p.next(ctx)
			more = next.more
			pages <- next
		}
	}()
	defer func() {
		cancel()
		for range pages { // until nothing is asked for any more
		}
	}()
	for page := range pages {
		if page.err != nil {
			return 0, page.err
		}
		for _, kv := range page.records {
			if page.keysOnly {
				m.omit(kv, "it is too large to be read")
			} else {
				m.put(kv)
			}
		}
		revision = page.revision
	}
	return revision, nil
}

// page is some of the records.
type page struct {
	records  []*mvccpb.KeyValue
	keysOnly bool // since what they hold is too large
	more     bool // others follow
	revision int64
	err      error
}

// A pager asks for one page after the other, all as of one revision. It asks
// for so few records at a time that the answers are not too long.
type pager struct {
	registry *Registry
	ask      *pb.RangeRequest
}

func (p *pager) next(ctx context.Context) page {
	for {
		var answer *pb.RangeResponse
		err := p.registry.call(ctx, func(ctx context.Context) (err error) {
			answer, err = p.registry.kv.Range(ctx, p.ask)
			return err
		})
		switch {
		case err == nil:
			return p.take(answer)
		case !tooLong(err) || p.ask.GetKeysOnly():
			return page{err: err}
		}
		p.ask.KeysOnly = p.ask.GetLimit() == 1 // that record is too large: its key must do
		p.ask.Limit = max(p.ask.GetLimit()/4, 1)
	}
}

// take returns a page, and prepares to ask for the one after it.
func (p *pager) take(answer *pb.RangeResponse) page {
	if p.ask.GetRevision() == 0 {
		p.ask.Revision = answer.GetHeader().GetRevision()
	}
	got := page{
		records:  answer.GetKvs(),
		keysOnly: p.ask.GetKeysOnly(),
		more:     answer.GetMore() && len(answer.GetKvs()) > 0,
		revision: p.ask.GetRevision(),
	}
	if !got.more {
		return got
	}
	last := got.records[len(got.records)-1].GetKey()
	if bytes.Compare(last, p.ask.GetKey()) < 0 {
		return page{err: fmt.Errorf("%w: %s: its answer is out of order", registry.ErrUnavailable, p.registry.name)}
	}
	p.ask.Key = append(bytes.Clone(last), 0)
	p.ask.KeysOnly, p.ask.Limit = false, min(p.ask.GetLimit()*2, maxPage, roomFor(got.records))
	return got
}

// roomFor returns how many records like these make a page.
func roomFor(records []*mvccpb.KeyValue) int64 {
	size := 1
	for _, kv := range records {
		size += len(kv.GetKey()) + len(kv.GetValue())
	}
	return int64(max(pageBytes/(size/len(records)+1), 1))
}

// continues says whether etcd has the history that m is of: whether what
// happened since can be followed. A restored or emptied store may have reached
// the same revision by another way. It cannot have the lease of our latest
// record, since the ids of leases hold the time; and when as many records were
// there at our revision as we know, nothing was removed since that we know of.
func (r *Registry) continues(ctx context.Context, m *mirror) (bool, error) {
	key, latest := m.latest()
	if latest.lease == 0 || m.crowded {
		return false, nil
	}
	one := &pb.RangeRequest{Key: []byte(key), Revision: m.revision, KeysOnly: true}
	all := &pb.RangeRequest{Key: []byte(r.prefix), RangeEnd: rangeEnd(r.prefix), Revision: m.revision, CountOnly: true}
	var answer *pb.TxnResponse
	err := r.call(ctx, func(ctx context.Context) (err error) {
		answer, err = r.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestRange{RequestRange: one}},
			{Request: &pb.RequestOp_RequestRange{RequestRange: all}},
		}})
		return err
	})
	if errors.Is(err, errGap) {
		return false, nil
	}
	if err != nil || len(answer.GetResponses()) != 2 {
		return false, err
	}
	found := answer.GetResponses()[0].GetResponseRange().GetKvs()
	count := answer.GetResponses()[1].GetResponseRange().GetCount()
	return len(found) == 1 && found[0].GetModRevision() == latest.modified && found[0].GetLease() == latest.lease &&
		count == int64(len(m.marks)), nil
}
