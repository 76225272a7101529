package server

import (
	"net/http"
	"sync"
	"time"
)

// streamWriter is the answer on a stream of HTTP/2. It resets the stream when
// the client takes nothing of a write for the timeout: the connection, on which
// other streams go on, does not tell.
type streamWriter struct {
	http.ResponseWriter

	rc      *http.ResponseController
	timeout time.Duration
	gone    <-chan struct{} // closed when the stream has ended

	mu       sync.Mutex
	timer    *time.Timer // nil until something is written
	began    time.Time   // the write under way; zero for none
	rest     bool        // something may be written when the handler has returned
	answered bool        // the answer began before the stream ended
}

func newStreamWriter(w http.ResponseWriter, gone <-chan struct{}, timeout time.Duration) *streamWriter {
	return &streamWriter{ResponseWriter: w, rc: http.NewResponseController(w), gone: gone, timeout: timeout}
}

// Unwrap gives a ResponseController the writer below.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *streamWriter) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.mu.Lock()
		w.answer()
		w.mu.Unlock()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *streamWriter) Write(p []byte) (int, error) {
	written := 0
	for {
		step := p[written:]
		if len(step) > writeStep {
			step = step[:writeStep]
		}
		w.begin()
		n, err := w.ResponseWriter.Write(step)
		w.pause(true)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// Flush implements http.Flusher.
func (w *streamWriter) Flush() { _ = w.FlushError() } // a Flusher has no way to tell

// FlushError is what a ResponseController calls.
func (w *streamWriter) FlushError() error {
	w.begin()
	err := w.rc.Flush()
	w.pause(false)
	return err
}

// answer notes that something is written, if there still is a stream for it. The
// caller holds mu.
func (w *streamWriter) answer() { w.answered = w.answered || !w.isGone() }

// isReset reports, when the handler has returned, that its stream ended before
// that, and without an answer.
func (w *streamWriter) isReset() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.answered && w.isGone()
}

func (w *streamWriter) isGone() bool {
	select {
	case <-w.gone:
		return true
	default:
		return false
	}
}

// begin bounds a write.
func (w *streamWriter) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer()
	w.began = time.Now()
	if w.timer == nil {
		w.timer = time.AfterFunc(w.timeout, w.expire)
		return
	}
	w.timer.Reset(w.timeout)
}

// pause ends the bound: the handler may take its time. Rest says whether some of
// what was written is still here.
func (w *streamWriter) pause(rest bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.began, w.rest = time.Time{}, rest
	w.timer.Stop()
}

// expire ends a write that takes too long.
func (w *streamWriter) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.began.IsZero() && time.Since(w.began) >= w.timeout { // not one that began this instant
		_ = w.rc.SetWriteDeadline(time.Unix(1, 0)) // a stream that is closed tells the one who writes
	}
}

// end bounds what net/http writes when the handler has returned.
func (w *streamWriter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rest {
		_ = w.rc.SetWriteDeadline(time.Now().Add(w.timeout)) // see expire
	}
}
