package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// bareCommand is the subcommand that runs the baseline; the others call it.
const bareCommand = "reverseproxy"

// serveBare is the least that Go's own proxy needs to be a fair baseline: it
// keeps as many connections as there is load, and logs nothing.
func serveBare(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench "+bareCommand, flag.ContinueOnError)
	address := flags.String("address", "127.0.0.1:8080", "where to listen")
	origin := flags.String("origin", "http://127.0.0.1:9000", "where to send requests")
	pool := flags.Bool("pool", false, "use copy buffers again")
	if err := flags.Parse(args); err != nil {
		return err
	}
	to, err := url.Parse(*origin)
	if err != nil {
		return err
	}
	srv := &http.Server{Addr: *address, Handler: bare(to, *pool)} //nolint:gosec // no limits: it is the baseline of the cost
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// bare returns the proxy of the baseline.
func bare(to *url.URL, pool bool) *httputil.ReverseProxy {
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.SetXForwarded()
		},
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 1024,
			IdleConnTimeout:     90 * time.Second,
			DisableCompression:  true,
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	if pool {
		p.BufferPool = new(buffers)
	}
	return p
}

// buffers is a pool of copy buffers, of the size that the proxy makes itself.
type buffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, 32<<10)
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(buf []byte) { b.pool.Put(&buf) }
