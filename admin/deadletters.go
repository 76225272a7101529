package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/goapi-dev/goapi/push"
)

// DeadLetters returns the messages that could not be pushed to a service.
func (c *Client) DeadLetters(ctx context.Context) (*push.DeadLetterList, error) {
	list := new(push.DeadLetterList)
	err := c.do(ctx, http.MethodGet, "/dead-letters", nil, list)
	return list, err
}

// DeadLetter returns one of them, with its header and body.
func (c *Client) DeadLetter(ctx context.Context, id string) (*push.DeadLetter, error) {
	letter := new(push.DeadLetter)
	err := c.do(ctx, http.MethodGet, "/dead-letters/"+url.PathEscape(id), nil, letter)
	return letter, err
}

// Replay pushes one of them to its service again. If that fails it stays.
func (c *Client) Replay(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, "/dead-letters/"+url.PathEscape(id), struct{}{}, nil)
}

// ReplayEach pushes some of them, up to 1,000, to their services again, one after
// the other, and calls tell with the ID of each and with nil, or why it stays. An
// error says why there is no more to tell.
func (c *Client) ReplayEach(ctx context.Context, ids []string, tell func(id string, err error)) error {
	body, err := json.Marshal(map[string][]string{"ids": ids})
	if err != nil {
		return fmt.Errorf("admin: replay: %w", err)
	}
	req, err := c.newRequest(ctx, http.MethodPost, "/dead-letters", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	answer, err := c.stream(req)
	if err != nil {
		return err
	}
	defer answer.Close()
	untold := make(map[string]bool, len(ids))
	for _, id := range ids {
		untold[id] = true
	}
	lines := json.NewDecoder(io.LimitReader(answer, maxAnswer))
	for len(untold) > 0 {
		var r push.Replayed
		switch err := lines.Decode(&r); {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("admin: the gateway broke off before the last %d of %d dead letters", len(untold), len(ids))
		case err != nil:
			return fmt.Errorf("admin: the answer broke off: %w", err)
		case !untold[r.ID]:
			return fmt.Errorf("admin: the gateway tells of a dead letter %q that was not asked for", clip(r.ID))
		}
		delete(untold, r.ID)
		if r.Error != nil {
			tell(r.ID, r.Error)
			continue
		}
		tell(r.ID, nil)
	}
	return nil
}
