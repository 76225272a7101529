package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A memoryBench measures what clients cost the gateway that do nothing: idle
// connections, and uploads that do not come to an end.
type memoryBench struct {
	idle    int
	uploads int
	size    int
	hold    time.Duration
}

func (b *memoryBench) flags(f *flag.FlagSet) {
	f.IntVar(&b.idle, "idle-connections", 1500, "connections that are idle after one request")
	f.IntVar(&b.uploads, "uploads", 60, "uploads at a time that stall")
	f.IntVar(&b.size, "upload", 8<<20, "bytes of each")
	f.DurationVar(&b.hold, "hold", 2*time.Second, "how long they stall")
}

// What idle connections, in KiB each, and uploads, in MiB together, may cost.
const (
	mostPlain   = 28
	mostTLS     = 45
	mostUploads = 64
)

func (b *memoryBench) run(ctx context.Context, out io.Writer) error {
	if b.idle < 1 || b.uploads < 1 || b.size < 1 || b.hold <= 0 {
		return errors.New("-idle-connections, -uploads, -upload and -hold are more than 0")
	}
	if err := enoughFiles(uint64(2*b.idle) + 200); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nMemory: %d idle connections, %s\n\n", b.idle, machine())
	fmt.Fprintln(out, "| KiB each | resident | live heap | stacks | at most |")
	fmt.Fprintln(out, "|---|---:|---:|---:|---:|")
	for _, row := range []struct {
		name   string
		secure bool
		most   int
	}{{"plain", false, mostPlain}, {"TLS", true, mostTLS}} {
		m, err := b.idleConnections(ctx, row.secure)
		if err != nil {
			return fmt.Errorf("idle connections, %s: %w", row.name, err)
		}
		fmt.Fprintf(out, "| %s | %.1f | %.1f | %.1f | %d |\n", row.name, m.resident, m.heap, m.stacks, row.most)
	}
	fmt.Fprintf(out, "\nMemory: %d uploads of %.1f MiB that stall for %v\n\n", b.uploads, float64(b.size)/(1<<20), b.hold)
	fmt.Fprintln(out, "| handler, HTTP | who stalls | resident over idle, MiB, peak | at most | taken, MiB each | refused |")
	fmt.Fprintln(out, "|---|---|---:|---:|---:|---:|")
	for _, row := range uploadRows() {
		m, err := b.stalledUploads(ctx, row)
		if err != nil {
			return fmt.Errorf("uploads, %s, %s: %w", row.name, row.staller, err)
		}
		fmt.Fprintf(out, "| %s | %s | %.1f | %d | %.2f | %d |\n", row.name, row.staller, m.peak, mostUploads, m.taken, m.refused)
	}
	return nil
}

// holding is a gateway whose memory is measured.
type holding struct {
	*configured

	lab *lab
}

// hold starts a gateway with a configuration and a service behind it.
func (b *memoryBench) holder(ctx context.Context, yaml, handler string, service http.Handler) (h *holding, end func() error, err error) {
	l, err := newLab()
	if err != nil {
		return nil, nil, err
	}
	node := httptest.NewUnstartedServer(service)
	node.Config.Protocols = new(http.Protocols)
	node.Config.Protocols.SetHTTP1(true)
	node.Start()
	end = func() error {
		node.CloseClientConnections()
		node.Close()
		return l.Close()
	}
	l.env = []string{"GODEBUG=gctrace=1"} // which is how a Go program tells of its heap
	program, err := buildGoapi(ctx, l)
	if err != nil {
		return nil, end, err
	}
	if strings.Contains(yaml, "tls_cert") {
		if err := writeCertificate(l.dir); err != nil {
			return nil, end, err
		}
	}
	c, err := startConfig(ctx, l, program, anyCore, yaml)
	if err != nil {
		return nil, end, err
	}
	s := newService("holds", node.Listener.Addr().String(), handler, "/**")
	if handler == "rpc" {
		s.Endpoints[0].Name = "Holds.Up"
	}
	return &holding{configured: c, lab: l}, end, c.register(ctx, s)
}

// collect has the gateway collect its garbage, and returns what it has then.
func (h *holding) collect(ctx context.Context) (memory, error) {
	for range 2 { // what the first finds to be finalised, the second frees
		if got, err := fetch(ctx, h.client, http.MethodGet, h.admin+"/debug/pprof/heap?gc=1", nil); err != nil || got.status != http.StatusOK {
			return memory{}, fmt.Errorf("GET /debug/pprof/heap: status %d, %w", got.status, err)
		}
	}
	return h.memory()
}

// idleConnections returns what each of many idle connections costs.
func (b *memoryBench) idleConnections(ctx context.Context, secure bool) (each memory, err error) {
	yaml, scheme := "", "http"
	if secure {
		yaml, scheme = "tls_cert: cert.pem\ntls_key: key.pem\n", "https"
	}
	h, end, err := b.holder(ctx, yaml, "http", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if end != nil {
		defer func() { err = errors.Join(err, end()) }()
	}
	if err != nil {
		return each, err
	}
	address := strings.TrimPrefix(h.public, "http://")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: anyCertificate(), DisableKeepAlives: true}}
	m := &changes{client: client, public: scheme + "://" + address}
	if err := m.until(ctx, "/idle", http.StatusOK); err != nil {
		return each, err
	}
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close() // the measurement is over
		}
	}()
	warm, err := openIdle(ctx, address, secure, hands) // what is made once
	if err != nil {
		return each, err
	}
	conns = append(conns, warm...)
	before, err := h.collect(ctx)
	if err != nil {
		return each, err
	}
	more, err := openIdle(ctx, address, secure, b.idle)
	conns = append(conns, more...)
	if err != nil {
		return each, err
	}
	if err := sleep(ctx, time.Second); err != nil {
		return each, err
	}
	after, err := h.collect(ctx)
	return after.each(before, b.idle), err
}

// anyCertificate is for a gateway that signed its own.
func anyCertificate() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true} //nolint:gosec // it is on loopback, and is gone when the command ends
}

// openIdle opens connections, each of which gets one answer.
func openIdle(ctx context.Context, address string, secure bool, n int) ([]net.Conn, error) {
	var (
		mu    sync.Mutex
		conns []net.Conn
		group errgroup.Group
	)
	group.SetLimit(hands)
	for range n {
		group.Go(func() error {
			c, err := dial(ctx, address, secure)
			if err != nil {
				return err
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			if _, err := io.WriteString(c, "GET /idle HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
				return err
			}
			rsp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				return err
			}
			defer rsp.Body.Close()
			if _, err := io.Copy(io.Discard, rsp.Body); err != nil || rsp.StatusCode != http.StatusOK {
				return fmt.Errorf("status %d, %w", rsp.StatusCode, err)
			}
			return nil
		})
	}
	return conns, group.Wait()
}

// dial connects to the gateway.
func dial(ctx context.Context, address string, secure bool) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if secure {
		return (&tls.Dialer{Config: anyCertificate()}).DialContext(ctx, "tcp", address)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// peak returns the most that was resident since resetPeak, in KiB.
func (p *process) peak() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(kib), " kB"), 64)
		}
	}
	return 0, errors.New("the kernel does not tell the peak")
}

// resetPeak has the kernel forget the peak.
func (p *process) resetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.pid), []byte("5"), 0)
}
