package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

const (
	// maxWaiting bounds the spans that wait to be sent.
	maxWaiting = 2048
	// maxBatch is how many are sent at a time.
	maxBatch = 512
	// sendEvery is how long a span may wait while the collector is there.
	sendEvery = 2 * time.Second
	// sendTimeout bounds sending a batch, its retries included.
	sendTimeout = 10 * time.Second
	// lastWords bounds sending what is left at the end.
	lastWords = 5 * time.Second
)

// queue keeps spans until they are sent, and never lets anybody wait. It does
// not use the batch processor of the SDK, which starts by itself, and tells the
// whole program of its errors.
type queue struct {
	exporter   sdk.SpanExporter
	log        *slog.Logger
	spans      chan sdk.ReadOnlySpan
	sent, lost atomic.Uint64
	away       bool // the collector is; of whoever sends
}

var _ sdk.SpanProcessor = (*queue)(nil)

func newQueue(e sdk.SpanExporter, log *slog.Logger) *queue {
	return &queue{exporter: e, log: log, spans: make(chan sdk.ReadOnlySpan, maxWaiting)}
}

// OnStart implements sdk.SpanProcessor.
func (q *queue) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd implements sdk.SpanProcessor.
func (q *queue) OnEnd(s sdk.ReadOnlySpan) {
	select {
	case q.spans <- s:
	default:
		q.lost.Add(1)
	}
}

// Shutdown implements sdk.SpanProcessor. Nobody calls it: close does it all.
func (q *queue) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdk.SpanProcessor. See Shutdown.
func (q *queue) ForceFlush(context.Context) error { return nil }

// run sends spans until ctx is done, and then those that are left.
func (q *queue) run(ctx context.Context) error {
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	batch := make([]sdk.ReadOnlySpan, 0, maxBatch)
	for {
		var due bool
		select {
		case <-ctx.Done():
			q.drain(ctx, batch)
			return ctx.Err()
		case s := <-q.spans:
			batch = append(batch, s)
			due = len(batch) == maxBatch
		case <-tick.C:
			due = len(batch) > 0
		}
		if due {
			q.send(ctx, batch)
			clear(batch) // they are not to be kept alive
			batch = batch[:0]
		}
	}
}

// drain sends what is left, and what is in batch.
func (q *queue) drain(ctx context.Context, batch []sdk.ReadOnlySpan) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	for {
		select {
		case s := <-q.spans:
			if batch = append(batch, s); len(batch) < maxBatch {
				continue
			}
		default:
		}
		if len(batch) == 0 {
			return
		}
		q.send(ctx, batch)
		batch = batch[:0]
	}
}

// send sends a batch. What the collector does not take is lost.
func (q *queue) send(ctx context.Context, batch []sdk.ReadOnlySpan) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err := q.exporter.ExportSpans(ctx, batch)
	if err != nil {
		q.lost.Add(uint64(len(batch)))
		if !q.away {
			q.log.Warn("collector of traces lost; spans are lost until it is back", slog.Any("error", err))
		}
	} else {
		q.sent.Add(uint64(len(batch)))
		if q.away {
			q.log.Info("collector of traces found", slog.Uint64("lost", q.lost.Load()))
		}
	}
	q.away = err != nil
}

// close sends what is left and closes the exporter.
func (q *queue) close() error {
	q.drain(context.Background(), nil)
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if err := q.exporter.Shutdown(ctx); err != nil {
		return fmt.Errorf("tracing: close: %w", err)
	}
	return nil
}
