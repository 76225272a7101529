package compress

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// window is how far zstd looks back. More helps few answers and takes as much
// memory.
const window = 128 << 10

// encoder is what both libraries have.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(w io.Writer)
}

var (
	_ encoder = (*gzip.Writer)(nil)
	_ encoder = (*zstd.Encoder)(nil)
)

// encoders are those of a compressor. Those with a memory are counted.
type encoders struct {
	gzip, zstd, stateless *sync.Pool // nil where a coding is not used
	most                  int64
	busy                  atomic.Int64
}

// lease is an encoder in use.
type lease struct {
	encoder

	pool    *sync.Pool
	counted bool
}

func newEncoders(o *Options) (*encoders, error) {
	e := &encoders{most: int64(o.Encoders)}
	switch {
	case o.Gzip < -1 || o.Gzip > gzip.BestCompression:
		return nil, fmt.Errorf("compress: gzip has no level %d: write 1 (fastest) to %d, or -1 not to use it", o.Gzip, gzip.BestCompression)
	case o.Zstd < -1 || o.Zstd > int(zstd.SpeedBetterCompression):
		return nil, fmt.Errorf("compress: zstd has no level %d: write 1 (fastest) to %d, or -1 not to use it", o.Zstd, zstd.SpeedBetterCompression)
	case o.Gzip == -1 && o.Zstd == -1:
		return nil, errors.New("compress: neither gzip nor zstd is used: give one of them a level")
	case o.Encoders < 0:
		return nil, fmt.Errorf("compress: %d encoders are none: write how many answers are compressed at a time", o.Encoders)
	case o.Encoders == 0:
		e.most = defaultEncoders
	}
	if o.Gzip != -1 {
		e.gzip, e.stateless = gzipPool(max(o.Gzip, gzip.BestSpeed)), gzipPool(gzip.StatelessCompression)
	}
	if o.Zstd != -1 {
		e.zstd = zstdPool(zstd.EncoderLevel(max(o.Zstd, int(zstd.SpeedFastest))))
	}
	return e, nil
}

// gzipPool returns a pool of encoders of a level that exists.
func gzipPool(level int) *sync.Pool {
	return &sync.Pool{New: func() any {
		w, _ := gzip.NewWriterLevel(nil, level) // fails for other levels only
		return w
	}}
}

// zstdPool returns a pool of encoders that work in their caller's goroutine.
func zstdPool(level zstd.EncoderLevel) *sync.Pool {
	return &sync.Pool{New: func() any {
		w, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), // fails for other options only
			zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(window), zstd.WithZeroFrames(true))
		return w
	}}
}

// known returns what the client takes of what is used. Of what it wants equally
// it gets zstd, which is faster, and rather gzip than nothing.
func (e *encoders) known(zstd, gzip, plain int) codings {
	if e.zstd == nil {
		zstd = 0
	}
	if e.gzip == nil {
		gzip = 0
	}
	switch {
	case max(zstd, gzip) == 0 || max(zstd, gzip) < plain:
		return codings{}
	case zstd >= gzip:
		return codings{zstded, gzip > 0}
	}
	return codings{gzipped, true}
}

// lease returns an encoder that writes to w and its coding. There is none
// if all are busy and the client does not take gzip.
func (e *encoders) lease(want codings, w io.Writer) (lease, coding) {
	if want.best == identity {
		return lease{}, identity
	}
	l, as := lease{pool: e.gzip, counted: true}, want.best
	if as == zstded {
		l.pool = e.zstd
	}
	if e.busy.Add(1) > e.most {
		e.busy.Add(-1)
		if !want.gzip {
			return lease{}, identity
		}
		l, as = lease{pool: e.stateless}, gzipped
	}
	l.encoder, _ = l.pool.Get().(encoder) // never another
	l.Reset(w)
	return l, as
}

// giveBack ends a lease, whatever became of the answer.
func (e *encoders) giveBack(l lease) {
	if l.encoder == nil {
		return
	}
	l.Reset(nil)
	l.pool.Put(l.encoder)
	if l.counted {
		e.busy.Add(-1)
	}
}
