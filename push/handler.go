package push

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/goapi-dev/goapi"
)

// maxAsked bounds what is asked to be replayed at a time, in bytes.
const maxAsked = 1 << 20

// Replayed says what became of a dead letter that was to be replayed.
type Replayed struct {
	ID string `json:"id"`
	// Error says why it stays. Nil: it is none any more.
	Error *goapi.Error `json:"error,omitempty"`
}

// Handler returns a handler for operators. It is not for the public.
//
//   - GET /dead-letters answers with a [DeadLetterList],
//   - GET /dead-letters/ID with a [DeadLetter],
//   - POST /dead-letters/ID replays one, and answers 204,
//   - POST /dead-letters with {"ids": […]} replays up to 1,000, and answers with a
//     line of JSON for each, a [Replayed], as it goes.
func (p *Pusher) Handler() http.Handler {
	return goapi.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		rest, ok := strings.CutPrefix(r.URL.Path, "/dead-letters")
		id, isOne := strings.CutPrefix(rest, "/")
		if !ok || rest != "" && !isOne || strings.Contains(id, "/") {
			return goapi.NewError(http.StatusNotFound, "there is nothing here; want /dead-letters or /dead-letters/ID", nil)
		}
		switch {
		case r.Method == http.MethodGet && id == "":
			list, err := p.DeadLetters(r.Context())
			if err != nil {
				return err
			}
			return writeJSON(w, list)
		case r.Method == http.MethodGet:
			l, err := p.DeadLetter(r.Context(), id)
			if err != nil {
				return err
			}
			return writeJSON(w, l)
		case r.Method == http.MethodPost && id == "":
			return p.answerEach(w, r)
		case r.Method == http.MethodPost:
			if err := p.Replay(r.Context(), id); err != nil {
				return err
			}
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		e := goapi.NewError(http.StatusMethodNotAllowed, "want GET, or POST to replay dead letters", nil)
		e.Header = http.Header{"Allow": {"GET, POST"}}
		return e
	})
}

// answerEach replays the dead letters that a request names.
func (p *Pusher) answerEach(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAsked))
	if err != nil {
		return err
	}
	var asked struct {
		IDs []string `json:"ids"`
	}
	if err := json.Unmarshal(body, &asked); err != nil || len(asked.IDs) == 0 || len(asked.IDs) > maxListed {
		return goapi.NewError(http.StatusBadRequest, fmt.Sprintf(`want {"ids": […]} with the IDs of 1 to %d dead letters`, maxListed), err)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	lines, flusher := json.NewEncoder(w), http.NewResponseController(w)
	p.ReplayEach(r.Context(), asked.IDs, func(id string, err error) {
		said := Replayed{ID: id}
		if err != nil && !errors.As(err, &said.Error) {
			said.Error = goapi.NewError(goapi.Status(err), "the gateway failed; its log says why", err)
		}
		if err != nil {
			p.log.Warn("dead letter not replayed", slog.String("id", id), slog.Any("error", err))
		}
		_ = lines.Encode(said) // the client is gone; the context tells
		_ = flusher.Flush()
	})
	return nil
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("push: encode %T: %w", v, err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(append(body, '\n')) // the client is gone; nobody to tell
	return nil
}
