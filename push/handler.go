package push

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/goapi-dev/goapi"
)

// Handler returns a handler for operators. It is not for the public.
//
//   - GET /dead-letters answers with a [DeadLetterList],
//   - GET /dead-letters/ID with a [DeadLetter],
//   - POST /dead-letters/ID replays one, and answers 204.
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
		case r.Method == http.MethodPost && id != "":
			if err := p.Replay(r.Context(), id); err != nil {
				return err
			}
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		e := goapi.NewError(http.StatusMethodNotAllowed, "want GET, or POST to replay one dead letter", nil)
		e.Header = http.Header{"Allow": {"GET"}}
		if id != "" {
			e.Header.Set("Allow", "GET, POST")
		}
		return e
	})
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
