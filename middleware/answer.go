package middleware

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// An editor changes the header of an answer when it begins.
type editor interface {
	// edit is called once, with the final status: not for interim answers.
	edit(h http.Header, r *http.Request)
}

// edited is a ResponseWriter whose header is changed by editors when the
// answer begins, whoever gives it: service, gateway or another middleware.
// Middlewares that lie directly within each other share one.
type edited struct {
	http.ResponseWriter

	begun bool
	edits []edit // outermost first
	few   [4]edit
}

// edit is an editor and the request that it is for.
type edit struct {
	editor editor
	r      *http.Request
}

// editing hands out writers, and takes them back when the answer is complete.
type editing struct{ pool sync.Pool }

// serve serves r by next, with an answer that e changes.
func (p *editing) serve(e editor, next http.Handler, w http.ResponseWriter, r *http.Request) {
	if outer, ok := w.(*edited); ok {
		outer.edits = append(outer.edits, edit{e, r})
		next.ServeHTTP(w, r)
		return
	}
	ew, ok := p.pool.Get().(*edited)
	if !ok {
		ew = new(edited)
	}
	ew.ResponseWriter = w
	ew.edits = append(ew.few[:0], edit{e, r})
	next.ServeHTTP(ew, r)
	ew.begin() // of an answer without a body that nobody began
	*ew = edited{}
	p.pool.Put(ew) // a handler that ended in a panic may have left it with somebody
}

// begin changes the header.
func (w *edited) begin() {
	if w.begun {
		return
	}
	w.begun = true
	h := w.Header()
	for _, e := range slices.Backward(w.edits) {
		e.editor.edit(h, e.r)
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *edited) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *edited) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

// ReadFrom lets the writer below copy in its own way.
func (w *edited) ReadFrom(src io.Reader) (int64, error) {
	w.begin()
	return io.Copy(w.ResponseWriter, src)
}

// Flush implements http.Flusher.
func (w *edited) Flush() { _ = w.FlushError() } // a Flusher has no way to tell

// FlushError is what a ResponseController calls.
func (w *edited) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap gives a ResponseController the writer below.
func (w *edited) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// addVary adds names to Vary that are not there yet.
func addVary(h http.Header, names ...string) {
	for _, name := range names {
		if !varies(h["Vary"], name) {
			h["Vary"] = append(slices.Clip(h["Vary"]), name)
		}
	}
}

// varies says that a Vary header names something, or everything.
func varies(vary []string, name string) bool {
	for _, list := range vary {
		for v := range strings.SplitSeq(list, ",") {
			if v = strings.TrimSpace(v); v == "*" || strings.EqualFold(v, name) {
				return true
			}
		}
	}
	return false
}
