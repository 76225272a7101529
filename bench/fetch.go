package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
)

// An answer is what a fetch got: the status, and how long the body was.
type answer struct {
	status int
	length int64
}

// fetch sends one request and reads the answer to its end. A body is JSON.
func fetch(ctx context.Context, c *http.Client, method, url string, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	rsp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer rsp.Body.Close()
	n, err := io.Copy(io.Discard, rsp.Body)
	return answer{status: rsp.StatusCode, length: n}, err
}
