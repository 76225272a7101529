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

	mu    sync.Mutex
	timer *time.Timer // nil until something is written
	began time.Time   // the write under way; zero for none
	rest  bool        // something may be written when the handler has returned
}

func newStreamWriter(w http.ResponseWriter, timeout time.Duration) *streamWriter {
	return &streamWriter{ResponseWriter: w, rc: http.NewResponseController(w), timeout: timeout}
}

// Unwrap gives a ResponseController the writer below.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

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

// begin bounds a write.
func (w *streamWriter) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
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
