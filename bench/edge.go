package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// An edgeBench measures the CPU that the gateway spends on a request for what it
// does beside forwarding it.
type edgeBench struct {
	rounds      int
	connections int
	duration    time.Duration
	each        bool
}

func (b *edgeBench) flags(f *flag.FlagSet) {
	f.IntVar(&b.rounds, "edge-rounds", 9, "rounds, in each of which every configuration has its turn")
	f.IntVar(&b.connections, "edge-connections", 32, "connections that send requests")
	f.DurationVar(&b.duration, "edge-duration", 2*time.Second, "how long a turn takes; whole seconds")
	f.BoolVar(&b.each, "edge-each", false, "measure each of the things alone, too")
}

const (
	// edgeMost is what all of it may cost, in µs.
	edgeMost = 12
	// callers are the subjects of as many tokens.
	callers = 100
	signing = "bench-bench-bench-bench-bench-bench" // the key of HS256
)

// A setting is a configuration that is measured.
type setting struct {
	name string
	yaml string // $collector is the address of who gets traces
}

const (
	settingOff = "metrics: {off: true}\naccess_log: {output: off}\n"
	logOn      = "access_log: {file: access.log}\n"
	logOff     = "access_log: {output: off}\n"
	metricsOn  = "metrics: {}\n"
	metricsOff = "metrics: {off: true}\n"
	tracingOn  = "tracing: {endpoint: \"$collector\", sample: 0.01}\n"
	identities = "identity: {jwt: {main: {algorithms: [HS256], issuer: bench, audience: [bench], secret: " + signing + "}}}\n"
	authOn     = "auth: {any: [jwt/main]}"
	rateOn     = "rate_limit: [{key: %s, requests: 1000000000}]"
)

// settings returns what is measured; the first is all of it off, and the second all of
// it on.
func settings(each bool) []setting {
	all := []setting{
		{"all off", settingOff},
		{"all on", logOn + metricsOn + tracingOn + identities + "policy: {" + authOn + ", " + fmt.Sprintf(rateOn, "subject") + "}\n"},
		{"access log", logOn + metricsOff},
		{"metrics", logOff + metricsOn},
		{"traces of 1 %", logOff + metricsOff + tracingOn},
		{"JWT", settingOff + identities + "policy: {" + authOn + "}\n"},
		{"rate limit", settingOff + "policy: {" + fmt.Sprintf(rateOn, "client") + "}\n"},
	}
	if !each {
		all = all[:2]
	}
	return all
}

func (b *edgeBench) run(ctx context.Context, out io.Writer) (err error) {
	if runtime.NumCPU() < 2 {
		return errors.New("two cores are needed: one for the gateway, one for the load")
	}
	if b.rounds < 1 || b.connections < 1 || b.duration < time.Second {
		return errors.New("-edge-rounds and -edge-connections are at least 1, -edge-duration at least 1s")
	}
	for _, program := range []string{"nginx", "wrk", "taskset"} {
		if _, err := find(program); err != nil {
			return err
		}
	}
	l, err := newLab()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	e, err := b.start(ctx, l)
	defer func() { err = errors.Join(err, e.close()) }()
	if err != nil {
		return err
	}
	if err := b.measure(ctx, l, e); err != nil {
		return err
	}
	b.print(out, e.benches)
	return nil
}

// edge is the gateways that are measured.
type edge struct {
	labs      []*lab
	collector *httptest.Server
	benches   []*bench
}

// close ends them.
func (e *edge) close() error {
	var errs []error
	for _, l := range e.labs {
		errs = append(errs, l.Close())
	}
	e.collector.Close()
	return errors.Join(errs...)
}

// start starts a gateway for each setting.
func (b *edgeBench) start(ctx context.Context, l *lab) (*edge, error) {
	e := &edge{collector: httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // spans that do not come are no matter here
	}))}
	origin, err := startOrigin(ctx, l)
	if err != nil {
		return e, err
	}
	program, err := buildGoapi(ctx, l)
	if err != nil {
		return e, err
	}
	token, err := newToken(0)
	if err != nil {
		return e, err
	}
	for _, s := range settings(b.each) {
		own, err := newLab() // with a directory of its own
		if err != nil {
			return e, err
		}
		e.labs = append(e.labs, own)
		started, err := startSetting(ctx, own, program, s, e.collector.URL)
		if err != nil {
			return e, fmt.Errorf("%s: %w", s.name, err)
		}
		if err := started.register(ctx, newService("origin", origin, "http", "/**")); err != nil {
			return e, fmt.Errorf("%s: %w", s.name, err)
		}
		if err := started.serves(ctx, token); err != nil {
			return e, fmt.Errorf("%s: %w", s.name, err)
		}
		e.benches = append(e.benches, &bench{
			peer: peer{name: s.name}, process: started.process, url: started.public, results: map[string]*series{edgeWorkload: {}},
		})
	}
	return e, nil
}

// A configured is a gateway with a file of configuration.
type configured struct {
	*gateway

	public string // a URL
	file   string
}

// startSetting starts a gateway with a setting.
func startSetting(ctx context.Context, l *lab, program string, s setting, collector string) (*configured, error) {
	return startConfig(ctx, l, program, gatewayCore, strings.ReplaceAll(s.yaml, "$collector", collector))
}

// startConfig starts a gateway with a file of configuration, and waits until it is
// ready.
func startConfig(ctx context.Context, l *lab, program string, core int, yaml string, flags ...string) (*configured, error) {
	file, err := l.file("goapi.yaml", yaml)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	g, err := launchGoapi(ctx, l, program, core, address, append([]string{"--config", file}, flags...)...)
	if err != nil {
		return nil, err
	}
	return &configured{gateway: g, public: "http://" + address, file: file}, g.await(ctx, g.admin+"/readyz")
}

// serves waits until a request with a token is served.
func (c *configured) serves(ctx context.Context, token string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.public+edgePath, http.NoBody)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		status := 0
		rsp, err := c.client.Do(req)
		if err == nil {
			status = rsp.StatusCode
			err = rsp.Body.Close()
		}
		if status == http.StatusOK {
			return nil
		}
		if waited := sleep(ctx, 10*time.Millisecond); waited != nil {
			return fmt.Errorf("GET %s: status %d, %w: %s", edgePath, status, errors.Join(err, waited), c.lastWords())
		}
	}
}

// newToken returns a token of one of the callers.
func newToken(caller int) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "bench", "aud": "bench", "sub": "caller-" + strconv.Itoa(caller), "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte(signing))
}

const (
	edgeWorkload = "GET, 1 KiB"
	edgePath     = "/1k"
)

// script has wrk send the requests of all callers, one after the other.
func script() (string, error) {
	var lua strings.Builder
	lua.WriteString("local requests, n = {}, 0\ninit = function()\n")
	for i := range callers {
		token, err := newToken(i)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&lua, "requests[%d] = wrk.format(\"GET\", nil, {Authorization = \"Bearer %s\"})\n", i+1, token)
	}
	fmt.Fprintf(&lua, "end\nrequest = function()\nn = n %% %d + 1\nreturn requests[n]\nend\n", callers)
	return lua.String(), nil
}

// measure gives every gateway its turn, in one order and then in the other.
func (b *edgeBench) measure(ctx context.Context, l *lab, e *edge) error {
	lua, err := script()
	if err != nil {
		return err
	}
	turns := &proxyBench{connections: b.connections, duration: b.duration}
	w := workload{name: edgeWorkload, path: edgePath, script: lua}
	order := slices.Clone(e.benches)
	for round := range b.rounds + 1 { // the first warms up
		for _, to := range order {
			if err := turns.turn(ctx, l, w, to, round > 0); err != nil {
				return fmt.Errorf("%s: %w", to.peer.name, err)
			}
		}
		slices.Reverse(order)
	}
	return nil
}

// print writes the table: medians, and between what they lie. What a thing costs is
// the difference to all off, round by round.
func (b *edgeBench) print(out io.Writer, benches []*bench) {
	fmt.Fprintf(out, "\nEdge: CPU per request, %d rounds of %v, %d connections, tokens of %d callers, %s\n\n",
		b.rounds, b.duration, b.connections, callers, machine())
	fmt.Fprintf(out, "| %s | CPU µs/request | least–most | more than all off, µs | least–most | at most | requests/s |\n", edgeWorkload)
	fmt.Fprintln(out, "|---|---:|---:|---:|---:|---:|---:|")
	base := benches[0].results[edgeWorkload].cpu
	for i, to := range benches {
		s := to.results[edgeWorkload]
		more, most := differences(s.cpu, base), ""
		if i == 1 {
			most = strconv.Itoa(edgeMost)
		}
		fmt.Fprintf(out, "| %s | %.1f | %.1f–%.1f | %.1f | %.1f–%.1f | %s | %.0f |\n", to.peer.name,
			median(s.cpu), quantile(s.cpu, 0), quantile(s.cpu, 1),
			median(more), quantile(more, 0), quantile(more, 1), most, median(s.rate))
	}
}

// differences subtracts what was measured in the same rounds.
func differences(values, from []float64) []float64 {
	d := make([]float64, len(values))
	for i := range values {
		d[i] = values[i] - from[i]
	}
	return d
}
