package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"time"
)

// A proxyBench measures the CPU that gateways spend on a request.
type proxyBench struct {
	rounds      int
	connections int
	duration    time.Duration
}

func (b *proxyBench) flags(f *flag.FlagSet) {
	f.IntVar(&b.rounds, "rounds", 5, "rounds, in each of which every gateway has its turn")
	f.IntVar(&b.connections, "connections", 32, "connections that send requests")
	f.DurationVar(&b.duration, "duration", 3*time.Second, "how long a turn takes; whole seconds")
}

// A workload is a kind of request.
type workload struct {
	name, path string
	script     string // for wrk
	length     int64  // of the answer
}

func workloads() []workload {
	return []workload{
		{name: "GET, 1 KiB", path: "/1k", length: 1 << 10},
		{name: "POST, 1 KiB", path: "/post", length: 2, script: `wrk.method = "POST"; wrk.body = string.rep("x", 1024)`},
		{name: "GET, 100 KiB", path: "/100k", length: 100 << 10},
	}
}

// A series is what a gateway did with a workload, round by round.
type series struct {
	cpu  []float64 // µs a request
	rate []float64 // requests a second
}

// A bench is a gateway that runs, and its results by workload.
type bench struct {
	peer
	*process

	url     string
	results map[string]*series
}

func (b *proxyBench) run(ctx context.Context, out io.Writer) (err error) {
	if runtime.NumCPU() < 2 {
		return errors.New("two cores are needed: one for the gateway, one for the load")
	}
	if b.rounds < 1 || b.connections < 1 || b.duration < time.Second {
		return errors.New("-rounds and -connections are at least 1, -duration at least 1s")
	}
	for _, program := range []string{"nginx", "haproxy", "wrk", "taskset"} {
		if _, err := find(program); err != nil {
			return err
		}
	}
	l, err := newLab()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	origin, err := startOrigin(ctx, l)
	if err != nil {
		return err
	}
	var benches []*bench
	for _, p := range peers() {
		started, err := startBench(ctx, l, p, origin)
		if err != nil {
			return err
		}
		benches = append(benches, started)
	}
	for round := range b.rounds + 1 { // the first warms up
		for _, w := range workloads() {
			for _, to := range benches {
				if err := b.turn(ctx, l, w, to, round > 0); err != nil {
					return fmt.Errorf("%s, %s: %w", to.peer.name, w.name, err)
				}
			}
		}
	}
	b.print(out, benches)
	return nil
}

// startBench starts a gateway and sees that it answers each workload.
func startBench(ctx context.Context, l *lab, p peer, origin string) (*bench, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	started, err := p.start(ctx, l, address, origin)
	if err != nil {
		return nil, err
	}
	b := &bench{peer: p, process: started, url: "http://" + address, results: map[string]*series{}}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, w := range workloads() {
		b.results[w.name] = new(series)
		if err := started.await(ctx, b.url+w.path); err != nil {
			return nil, err
		}
		got, err := fetch(ctx, client, http.MethodGet, b.url+w.path, nil)
		if err != nil {
			return nil, err
		}
		if got.length != w.length {
			return nil, fmt.Errorf("%s: %s has %d bytes, want %d", p.name, w.path, got.length, w.length)
		}
	}
	return b, nil
}

// turn loads one gateway with one workload.
func (b *proxyBench) turn(ctx context.Context, l *lab, w workload, to *bench, counts bool) error {
	script := ""
	if w.script != "" {
		var err error
		if script, err = l.file("wrk.lua", w.script); err != nil {
			return err
		}
	}
	duration := b.duration
	if !counts {
		duration = time.Second
	}
	before, err := to.cpu()
	if err != nil {
		return err
	}
	done, err := wrk(ctx, loadCore, b.connections, duration, script, to.url+w.path)
	if err != nil {
		return err
	}
	after, err := to.cpu()
	if err != nil {
		return err
	}
	if counts {
		s := to.results[w.name]
		s.cpu = append(s.cpu, float64((after-before).Nanoseconds())/1e3/float64(done.requests))
		s.rate = append(s.rate, float64(done.requests)/done.took.Seconds())
	}
	return nil
}

// print writes a table for each workload: medians, and between what they lie.
func (b *proxyBench) print(out io.Writer, benches []*bench) {
	fmt.Fprintf(out, "CPU per request: %d rounds of %v, %d connections, %s\n", b.rounds, b.duration, b.connections, machine())
	for _, w := range workloads() {
		fmt.Fprintf(out, "\n| %s | CPU µs/request | least–most | × ReverseProxy | least–most | requests/s |\n", w.name)
		fmt.Fprintln(out, "|---|---:|---:|---:|---:|---:|")
		var base []float64
		for _, to := range benches {
			if to.peer.name == baseline {
				base = to.results[w.name].cpu
			}
		}
		for _, to := range benches {
			s := to.results[w.name]
			ratio := ratios(s.cpu, base)
			fmt.Fprintf(out, "| %s | %.1f | %.1f–%.1f | %.2f | %.2f–%.2f | %.0f |\n", to.peer.name,
				median(s.cpu), quantile(s.cpu, 0), quantile(s.cpu, 1),
				median(ratio), quantile(ratio, 0), quantile(ratio, 1), median(s.rate))
		}
	}
}

// machine says what the figures were measured on.
func machine() string {
	return fmt.Sprintf("%d cores, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
}
