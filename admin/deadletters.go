package admin

import (
	"context"
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
