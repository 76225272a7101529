package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// An overloadBench measures what becomes of a service that is asked more than it
// can do: what it still answers, and how late.
type overloadBench struct {
	workers int
	takes   time.Duration
	times   float64
	length  time.Duration
}

func (b *overloadBench) flags(f *flag.FlagSet) {
	f.IntVar(&b.workers, "workers", 20, "requests that the service works on at a time; others wait in it")
	f.DurationVar(&b.takes, "takes", 20*time.Millisecond, "how long it works on each")
	f.Float64Var(&b.times, "times", 3, "requests that come, as a multiple of what it can do")
	f.DurationVar(&b.length, "overload", 10*time.Second, "how long they do; without a limit 3s at most")
}

// capacity is how many requests a second the service can do.
func (b *overloadBench) capacity() float64 { return float64(b.workers) / b.takes.Seconds() }

func (b *overloadBench) run(ctx context.Context, out io.Writer) error {
	if b.workers < 1 || b.takes <= 0 || b.times <= 0 || b.length <= 0 {
		return errors.New("-workers, -takes, -times and -overload are more than 0")
	}
	if err := enoughFiles(2*mostAsked + 1000); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nOverload: %.1f times %.0f requests/s, %d at a time of %v, %s\n\n", b.times, b.capacity(), b.workers, b.takes, machine())
	fmt.Fprintln(out, "| max in flight | peak, requests/s | goodput, requests/s | of the peak | median, ms | p99, ms | × p99 of few | refused/s | p99 of these, ms | failed |")
	fmt.Fprintln(out, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, row := range []struct {
		name   string
		length time.Duration
		flags  []string
	}{
		{"no limit", min(b.length, 3*time.Second), nil},
		{"auto", b.length, []string{"--max-in-flight", "auto"}},
	} {
		m, err := b.measure(ctx, row.length, row.flags)
		if err != nil {
			return fmt.Errorf("%s: %w", row.name, err)
		}
		m.print(out, row.name)
	}
	return nil
}

// overload is what was measured of it.
type overload struct {
	few    durations // latencies when there are few requests
	peak   float64   // requests a second at best
	length time.Duration

	answered durations // latencies, from when the request was due
	inTime   durations // of these, what came while the overload lasted
	refused  durations
	failed   durations // otherwise, or were not sent
}

// print writes the row.
func (m *overload) print(out io.Writer, name string) {
	ms := func(d *durations, q float64) float64 {
		if len(d.list) == 0 {
			return 0
		}
		return float64(quantile(d.list, q).Microseconds()) / 1e3
	}
	goodput := float64(len(m.inTime.list)) / m.length.Seconds()
	p99 := ms(&m.answered, 0.99)
	fmt.Fprintf(out, "| %s | %.0f | %.0f | %.0f %% | %.1f | %.1f | %.1f | %.0f | %.1f | %d |\n", name, m.peak, goodput, 100*goodput/m.peak,
		ms(&m.answered, 0.5), p99, p99/ms(&m.few, 0.99), float64(len(m.refused.list))/m.length.Seconds(), ms(&m.refused, 0.99), len(m.failed.list))
}

// measure has a gateway serve few requests, then as many as it can, then more.
func (b *overloadBench) measure(ctx context.Context, length time.Duration, flags []string) (m *overload, err error) {
	l, err := newLab()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	g, err := runGoapi(ctx, l, anyCore, address, flags...)
	if err != nil {
		return nil, err
	}
	service := httptest.NewServer(b.serve())
	defer service.Close()
	if err := g.register(ctx, newService("busy", service.Listener.Addr().String(), "http", "/busy")); err != nil {
		return nil, err
	}
	url := "http://" + address + "/busy"
	if err := g.await(ctx, url); err != nil {
		return nil, err
	}
	m = &overload{length: length}
	asker := &asker{url: url, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1 << 20}}}
	defer asker.client.CloseIdleConnections()
	return m, b.load(ctx, asker, m)
}

// load makes the requests.
func (b *overloadBench) load(ctx context.Context, a *asker, m *overload) error {
	few := &overload{length: time.Hour}
	if err := a.open(ctx, b.capacity()/10, 2*time.Second, few); err != nil {
		return err
	}
	m.few.list = few.answered.list
	var err error
	if m.peak, err = a.closed(ctx, b.workers*3/2, 3*time.Second); err != nil {
		return err
	}
	return a.open(ctx, b.times*b.capacity(), m.length, m)
}

// serve returns the service: it works on so many requests at a time.
func (b *overloadBench) serve() http.Handler {
	desks := make(chan struct{}, b.workers)
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case desks <- struct{}{}:
		case <-r.Context().Done():
			return // the client did not wait
		}
		defer func() { <-desks }()
		_ = sleep(r.Context(), b.takes) // an end is the client's
	})
}

// An asker sends requests to one URL.
type asker struct {
	url    string
	client *http.Client
	asked  atomic.Int32 // that have no answer
}

// mostAsked is how many requests wait at a time for an answer: others fail, since
// there are not more connections.
const mostAsked = 7000

// open makes so many requests a second, whatever becomes of those before.
func (a *asker) open(ctx context.Context, rate float64, length time.Duration, m *overload) error {
	ctx, cancel := context.WithTimeout(ctx, length+3*readyWithin)
	defer cancel()
	end := time.Now().Add(length)
	return onSchedule(ctx, int(rate), length, func(ctx context.Context, _ int, due time.Time) error {
		if a.asked.Add(1) > mostAsked {
			m.failed.add(time.Since(due))
			a.asked.Add(-1)
			return nil
		}
		defer a.asked.Add(-1)
		got, err := fetch(ctx, a.client, http.MethodGet, a.url, nil)
		took := time.Since(due)
		switch {
		case err != nil:
			return err
		case got.status == http.StatusServiceUnavailable:
			m.refused.add(took)
		case got.status != http.StatusOK:
			m.failed.add(took)
		default:
			m.answered.add(took)
			if time.Now().Before(end) {
				m.inTime.add(took)
			}
		}
		return nil
	})
}

// closed has so many clients make one request after the other, and returns how
// many a second were answered.
func (a *asker) closed(ctx context.Context, clients int, length time.Duration) (rate float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, length+readyWithin)
	defer cancel()
	var answered durations
	group, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	for range clients {
		group.Go(func() error {
			for time.Since(begin) < length {
				got, err := fetch(ctx, a.client, http.MethodGet, a.url, nil)
				if err != nil {
					return err
				}
				if got.status == http.StatusOK {
					answered.add(0)
				}
			}
			return nil
		})
	}
	err = group.Wait()
	return float64(len(answered.list)) / time.Since(begin).Seconds(), err
}
