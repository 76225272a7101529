package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// An sseBench measures how long a server-sent event takes from the service's
// write to the client's read.
type sseBench struct {
	clients int
	events  int
	every   time.Duration
}

func (b *sseBench) flags(f *flag.FlagSet) {
	f.IntVar(&b.clients, "clients", 20, "clients that read events")
	f.IntVar(&b.events, "events", 1000, "events that each of them gets")
	f.DurationVar(&b.every, "every", 10*time.Millisecond, "time between two events of a client")
}

func (b *sseBench) run(ctx context.Context, out io.Writer) (err error) {
	if b.clients < 1 || b.events < 1 || b.every <= 0 {
		return errors.New("-clients and -events are at least 1, -every more than 0")
	}
	l, err := newLab()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	g, err := runGoapi(ctx, l, anyCore, address)
	if err != nil {
		return err
	}
	service := httptest.NewServer(http.HandlerFunc(b.serve))
	defer service.Close()
	if err := g.register(ctx, newService("events", service.Listener.Addr().String(), "web", "/events")); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nServer-sent events: %d clients, %d events each, one every %v, %s\n\n", b.clients, b.events, b.every, machine())
	fmt.Fprintln(out, "| from write to read, ms | median | p99 | most |")
	fmt.Fprintln(out, "|---|---:|---:|---:|")
	for _, row := range []struct{ name, url string }{
		{"without a gateway", service.URL + "/events"},
		{"goapi", "http://" + address + "/events"},
	} {
		if err := g.await(ctx, row.url+"?ready"); err != nil {
			return err
		}
		took, err := b.follow(ctx, row.url)
		if err != nil {
			return err
		}
		ms := func(q float64) float64 { return float64(quantile(took, q).Microseconds()) / 1e3 }
		fmt.Fprintf(out, "| %s | %.2f | %.2f | %.2f |\n", row.name, ms(0.5), ms(0.99), ms(1))
	}
	return nil
}

// serve is the service: an event says when it was written.
func (b *sseBench) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.RawQuery != "" {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	tick := time.NewTicker(b.every)
	defer tick.Stop()
	for range b.events {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
		fmt.Fprintf(w, "data: %d\n\n", time.Now().UnixNano())
		if rc.Flush() != nil {
			return // the client went away
		}
	}
}

// follow has all clients read their events, and returns how long each took.
func (b *sseBench) follow(ctx context.Context, url string) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.events)*b.every+readyWithin)
	defer cancel()
	var (
		mu  sync.Mutex
		all []time.Duration
	)
	client := &http.Client{Transport: new(http.Transport)}
	defer client.CloseIdleConnections()
	g, ctx := errgroup.WithContext(ctx)
	for range b.clients {
		g.Go(func() error {
			took, err := readEvents(ctx, client, url)
			if err == nil && len(took) != b.events {
				err = fmt.Errorf("%s: %d events, want %d", url, len(took), b.events)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			return err
		})
	}
	return all, g.Wait()
}

// readEvents reads events to the end, and returns how long each took.
func readEvents(ctx context.Context, client *http.Client, url string) ([]time.Duration, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var took []time.Duration
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		now := time.Now()
		ns, err := strconv.ParseInt(data, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: event %q: %w", url, data, err)
		}
		took = append(took, now.Sub(time.Unix(0, ns)))
	}
	return took, lines.Err()
}
