package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// pageSize is how many records are asked for at a time.
	pageSize = 1000
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
// are of. It asks for so few at a time that the answers are not too long.
func (r *Registry) readPages(ctx context.Context, m *mirror, prefix string) (revision int64, err error) {
	ask := &pb.RangeRequest{Key: []byte(prefix), RangeEnd: rangeEnd(prefix), Limit: pageSize}
	for {
		page, err := r.readPage(ctx, ask)
		if tooLong(err) && !ask.GetKeysOnly() {
			ask.KeysOnly = ask.GetLimit() == 1 // that record is too large: its key must do
			ask.Limit = max(ask.GetLimit()/4, 1)
			continue
		}
		if err != nil {
			return 0, err
		}
		records := page.GetKvs()
		for _, kv := range records {
			if ask.GetKeysOnly() {
				m.omit(kv, "it is too large to be read")
				continue
			}
			m.put(kv)
		}
		ask.Revision = page.GetHeader().GetRevision() // an answer about a revision names the latest
		if revision == 0 {
			revision = ask.GetRevision()
		}
		ask.Revision = revision
		if len(records) == 0 || !page.GetMore() {
			return revision, nil
		}
		last := records[len(records)-1].GetKey()
		if bytes.Compare(last, ask.GetKey()) < 0 {
			return 0, fmt.Errorf("%w: %s: its answer is out of order", registry.ErrUnavailable, r.name)
		}
		ask.Key = append(bytes.Clone(last), 0)
		ask.KeysOnly, ask.Limit = false, min(ask.GetLimit()*2, pageSize)
	}
}

func (r *Registry) readPage(ctx context.Context, ask *pb.RangeRequest) (page *pb.RangeResponse, err error) {
	err = r.call(ctx, func(ctx context.Context) error {
		page, err = r.kv.Range(ctx, ask)
		return err
	})
	return page, err
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
