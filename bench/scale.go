package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/standard"
)

// A scaleBench measures the gateway beside very many services: how soon it
// serves them, what it holds, and what changes cost.
type scaleBench struct {
	only      string
	services  int
	nodes     int
	endpoints int
	starts    int
	idle      time.Duration
	churn     time.Duration
	rate      int
	load      int
}

func (b *scaleBench) flags(f *flag.FlagSet) {
	f.StringVar(&b.only, "scale-only", "etcd,NATS", "the registries that hold the many services")
	f.IntVar(&b.services, "scale-services", 10_000, "how many they are")
	f.IntVar(&b.nodes, "scale-nodes", 3, "nodes of each")
	f.IntVar(&b.endpoints, "scale-endpoints", 10, "endpoints of each")
	f.IntVar(&b.starts, "starts", 3, "how often the gateway starts beside them")
	f.DurationVar(&b.idle, "idle", 150*time.Second, "how long nothing happens, of which the first fifth does not count; a Go program looks over its heap every two minutes")
	f.DurationVar(&b.churn, "churn", time.Minute, "how long services come and go")
	f.IntVar(&b.rate, "churn-rate", 200, "how many of them, a second")
	f.IntVar(&b.load, "load", 200, "requests a second that are sent meanwhile")
}

func (b *scaleBench) run(ctx context.Context, out io.Writer) error {
	if b.services < 1 || b.nodes < 1 || b.endpoints < 1 || b.starts < 1 || b.idle <= 0 || b.churn <= 0 || b.rate < 1 || b.load < 1 {
		return errors.New("-scale-services, -scale-nodes, -scale-endpoints, -starts, -idle, -churn, -churn-rate and -load are more than 0")
	}
	chosen := (&discoveryBench{only: b.only}).choose(stores(""))
	if len(chosen) == 0 {
		return fmt.Errorf("-scale-only %q names none of the registries", b.only)
	}
	record, err := json.Marshal(b.service("service-00000", "127.0.0.1:8080", 1))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nScale: %d services of %d nodes and %d endpoints, %.1f KB a node; %d starts, idle %v, %d changes/s for %v beside %d requests/s, %s\n\n",
		b.services, b.nodes, b.endpoints, float64(len(record))/1e3, b.starts, b.idle, b.rate, b.churn, b.load, machine())
	fmt.Fprintln(out, "| | start to first request, s | least–most | live heap, MiB | resident, MiB | idle, % of a core "+
		"| change to request, ms | p99 | data plane p99, ms | while it changes | × | cores, while it changes |")
	fmt.Fprintln(out, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	fmt.Fprintln(out, "| at most | 5 | | 400 | | 1 | | 100 | | | 2 | |")
	for _, s := range chosen {
		m, err := b.measure(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		m.print(out, s.name)
	}
	return nil
}

// scale is what was measured of a store.
type scale struct {
	starts       []float64 // s
	rest         memory
	idle         float64 // cores
	quiet, churn period
}

// A period is what was measured while services came and went, where the gateway
// looks or aside.
type period struct {
	shown  []time.Duration // from before a change to the request that shows it
	served []time.Duration // the requests of the data plane
	cores  []float64       // of the gateway
}

func (m *scale) print(out io.Writer, name string) {
	ms := func(took []time.Duration, q float64) float64 { return float64(quantile(took, q).Microseconds()) / 1e3 }
	quiet, churn := ms(m.quiet.served, 0.99), ms(m.churn.served, 0.99)
	fmt.Fprintf(out, "| %s | %.2f | %.2f–%.2f | %.0f | %.0f | %.2f | %.1f | %.1f | %.1f | %.1f | %.2f | %.2f |\n", name,
		median(m.starts), quantile(m.starts, 0), quantile(m.starts, 1), m.rest.heap/1024, m.rest.resident/1024, m.idle*100,
		ms(m.churn.shown, 0.5), ms(m.churn.shown, 0.99), quiet, churn, churn/quiet, median(m.churn.cores))
}

// measure measures a store.
func (b *scaleBench) measure(ctx context.Context, s store) (m *scale, err error) {
	l, err := newLab()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	started, err := s.start(ctx, l)
	if err != nil {
		return nil, err
	}
	if started.aside == "" {
		return nil, errors.New("there is no place in it where the gateway does not look")
	}
	program, err := buildGoapi(ctx, l)
	if err != nil {
		return nil, err
	}
	origin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer origin.Close()
	r := &scaleRun{bench: b, lab: l, program: program, store: started, node: origin.Listener.Addr().String()}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, standard.Close(r.here), standard.Close(r.aside)) }()
	if err := r.fill(ctx); err != nil {
		return nil, err
	}
	m = new(scale)
	return m, r.measure(ctx, m)
}

// A scaleRun is the measurement of a store.
type scaleRun struct {
	bench   *scaleBench
	lab     *lab
	program string
	store   *started
	node    string // the address of every service

	here, aside registry.Writer
	gateway     *gateway
	public      string
	client      *http.Client
	changed     int // services that came and went so far
}

// open opens where services are announced. The caller closes it.
func (r *scaleRun) open(ctx context.Context) (err error) {
	if r.here, err = r.store.open(ctx, nil); err != nil {
		return err
	}
	if r.aside, err = overURL(r.store.aside)(ctx, nil); err != nil {
		return errors.Join(err, standard.Close(r.here))
	}
	return nil
}

// fill announces the many services.
func (r *scaleRun) fill(ctx context.Context) error {
	var group errgroup.Group
	group.SetLimit(hands)
	for i := range r.bench.services {
		group.Go(func() error { return r.here.Register(ctx, r.bench.service(nameOf(i), r.node, r.bench.nodes), 0) })
	}
	return group.Wait()
}

func nameOf(i int) string { return fmt.Sprintf("service-%05d", i) }

// pathOf returns a path that a service serves.
func pathOf(name string) string { return "/" + name + "/method0/x" }

// service returns a service as large as those of go-micro.
func (b *scaleBench) service(name, address string, nodes int) *registry.Service {
	s := &registry.Service{Name: name, Version: "1.0.0"}
	for i := range b.endpoints {
		method := fmt.Sprintf("method%d", i)
		e := (&goapi.Endpoint{Name: "Greeter." + method, Handler: "http", Method: []string{"GET"}, Path: []string{"/" + name + "/" + method + "/{id}"}}).Encode()
		e.Request, e.Response = message(method+"Request"), message(method+"Response")
		s.Endpoints = append(s.Endpoints, e)
	}
	for i := range nodes {
		s.Nodes = append(s.Nodes, &registry.Node{
			ID: fmt.Sprintf("%s-%d", name, i), Address: address,
			Metadata: map[string]string{"protocol": "mucp", "server": "mucp", "transport": "http", "registry": "etcd", "broker": "http"},
		})
	}
	return s
}

func message(name string) *registry.Value {
	v := &registry.Value{Name: name, Type: name}
	for _, field := range []string{"id", "name", "filter"} {
		v.Values = append(v.Values, &registry.Value{Name: field, Type: "string"})
	}
	return v
}

// measure starts the gateway some times, leaves the last in peace, and then
// has services come and go: aside, where it looks, and aside again.
func (r *scaleRun) measure(ctx context.Context, m *scale) error {
	r.lab.env = []string{"GODEBUG=gctrace=1"} // which is how a Go program tells of its heap
	r.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	for range r.bench.starts {
		took, err := r.start(ctx)
		if err != nil {
			return err
		}
		m.starts = append(m.starts, took.Seconds())
	}
	err := sleep(ctx, r.bench.idle/5) // what was begun at the start ends
	if err != nil {
		return err
	}
	if m.idle, err = r.cores(func() error { return sleep(ctx, r.bench.idle*4/5) }); err != nil {
		return err
	}
	if m.rest, err = r.gateway.memory(); err != nil {
		return err
	}
	for _, turn := range []struct {
		writer registry.Writer
		shows  bool
		to     *period
		length time.Duration
	}{
		{r.aside, false, &m.quiet, r.bench.churn / 2},
		{r.here, true, &m.churn, r.bench.churn},
		{r.aside, false, &m.quiet, r.bench.churn / 2},
	} {
		cores, err := r.cores(func() error { return r.period(ctx, turn.writer, turn.shows, turn.to, turn.length) })
		if err != nil {
			return err
		}
		turn.to.cores = append(turn.to.cores, cores)
	}
	return nil
}

// start starts a gateway that remembers nothing, and returns how long it took
// until a request was served.
func (r *scaleRun) start(ctx context.Context) (time.Duration, error) {
	if r.gateway != nil {
		r.gateway.end()
		<-r.gateway.done
	}
	if err := os.RemoveAll(filepath.Join(r.lab.dir, "data")); err != nil {
		return 0, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return 0, err
	}
	r.public = "http://" + address
	begin := time.Now()
	if r.gateway, err = launchGoapi(ctx, r.lab, r.program, anyCore, address, "--registry", r.store.url); err != nil {
		return 0, err
	}
	err = r.serves(ctx, r.public+pathOf(nameOf(r.bench.services-1)))
	return time.Since(begin), err
}

// serves waits until a request is served. It does not ask often: the gateway
// needs the cores.
func (r *scaleRun) serves(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*readyWithin)
	defer cancel()
	for {
		got, err := fetch(ctx, r.client, http.MethodGet, url, nil)
		if err == nil && got.status == http.StatusOK {
			return nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("GET %s: status %d, %w: %s", url, got.status, err, r.gateway.lastWords())
		}
	}
}

// cores returns how many cores the gateway had while do ran.
func (r *scaleRun) cores(do func() error) (float64, error) {
	before, err := r.gateway.cpu()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := do(); err != nil {
		return 0, err
	}
	elapsed := time.Since(begin)
	after, err := r.gateway.cpu()
	return (after - before).Seconds() / elapsed.Seconds(), err
}

// period has services come and go in a registry, and sends requests to those
// that stay.
func (r *scaleRun) period(ctx context.Context, writer registry.Writer, shows bool, to *period, length time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, length+2*readyWithin)
	defer cancel()
	c := &comings{run: r, writer: writer, shows: shows, era: r.changed}
	r.changed += int(length.Seconds()*float64(r.bench.rate)) + 1
	var served durations
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return onSchedule(ctx, r.bench.rate, length, c.change) })
	group.Go(func() error {
		return onSchedule(ctx, r.bench.load, length, func(ctx context.Context, _ int, due time.Time) error {
			path := pathOf(nameOf(rand.IntN(r.bench.services))) //nolint:gosec // any will do
			got, err := fetch(ctx, r.client, http.MethodGet, r.public+path, nil)
			if err == nil && got.status != http.StatusOK {
				err = fmt.Errorf("GET %s: status %d", path, got.status)
			}
			served.add(time.Since(due))
			return err
		})
	})
	err := group.Wait()
	to.shown, to.served = append(to.shown, c.shown.list...), append(to.served, served.list...)
	return errors.Join(err, c.clean(context.WithoutCancel(ctx)))
}

// comings are services that come, and go a second later.
type comings struct {
	run    *scaleRun
	writer registry.Writer
	shows  bool // the gateway follows the registry
	era    int  // the first that was not there before
	shown  durations

	mu    sync.Mutex
	there []*registry.Service
}

// change has one service come, or the one go that is there for longest, and
// waits until that shows.
func (c *comings) change(ctx context.Context, i int, due time.Time) error {
	s, status := c.next(i), http.StatusOK
	var err error
	if s == nil {
		s = c.run.bench.service(fmt.Sprintf("comes-%d", c.era+i), c.run.node, 1)
		if err = c.writer.Register(ctx, s, time.Minute); err == nil {
			c.mu.Lock()
			c.there = append(c.there, s)
			c.mu.Unlock()
		}
	} else {
		status = http.StatusServiceUnavailable
		err = c.writer.Deregister(ctx, s)
	}
	if err != nil {
		return err
	}
	if !c.shows {
		status = http.StatusNotFound
	}
	m := &changes{client: c.run.client, public: c.run.public, pause: 2 * time.Millisecond}
	err = m.until(ctx, pathOf(s.Name), status)
	c.shown.add(time.Since(due))
	return err
}

// next returns the service that is to go, or nil if one is to come.
func (c *comings) next(i int) *registry.Service {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i%2 == 0 || len(c.there) < c.run.bench.rate/2 {
		return nil
	}
	s := c.there[0]
	c.there = c.there[1:]
	return s
}

// clean withdraws what is there still.
func (c *comings) clean(ctx context.Context) error {
	var group errgroup.Group
	group.SetLimit(hands)
	for _, s := range c.there {
		group.Go(func() error { return c.writer.Deregister(ctx, s) })
	}
	return group.Wait()
}

// onSchedule calls do so many times a second, whether the calls before have
// returned or not, and waits for all. The first that fails ends it.
func onSchedule(ctx context.Context, rate int, length time.Duration, do func(ctx context.Context, i int, due time.Time) error) error {
	group, ctx := errgroup.WithContext(ctx)
	begin, every := time.Now(), time.Second/time.Duration(rate)
	for i := range int(length / every) {
		due := begin.Add(time.Duration(i) * every)
		if err := sleep(ctx, time.Until(due)); err != nil {
			break
		}
		group.Go(func() error { return do(ctx, i, due) })
	}
	return group.Wait()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// durations are gathered by many.
type durations struct {
	mu   sync.Mutex
	list []time.Duration
}

func (d *durations) add(took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, took)
}
