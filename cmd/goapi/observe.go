package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/metrics"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/tracing"
)

// observed is what looks at requests: each may be nil.
type observed struct {
	accessLog *middleware.AccessLog
	metrics   *metrics.Metrics
	tracer    *tracing.Tracer
}

// observe makes what the configuration asks for: by default metrics alone.
func (g *gateway) observe(ctx context.Context) (*observed, error) {
	o := new(observed)
	opts := &metrics.Options{Version: version(), Logger: g.log}
	if t := g.cfg.file.Tracing; t != nil {
		var err error
		if o.tracer, err = g.newTracer(ctx, t); err != nil {
			return nil, fmt.Errorf("%s: tracing: %w", g.cfg.configFile, err)
		}
		g.onClose(o.tracer.Close)
		g.background = append(g.background, o.tracer.Run)
		opts.Spans = o.tracer.Spans
	}
	if a := g.cfg.file.AccessLog; a != nil && a.Output != "off" {
		out, err := g.logOutput(string(a.File), a.Output)
		if err != nil {
			return nil, fmt.Errorf("%s: access_log: file: %w", g.cfg.configFile, err)
		}
		o.accessLog = middleware.NewAccessLog(out, &middleware.AccessLogOptions{
			Sample: a.Share(), Query: a.Query, Buffer: int(a.Buffer), Logger: g.log,
		})
		g.background = append(g.background, o.accessLog.Run)
		opts.LogLost = o.accessLog.Lost
	}
	m := g.cfg.file.Metrics
	if m == nil {
		m = new(config.Metrics)
	}
	if !m.Off {
		opts.Buckets, opts.Native, opts.Nodes = m.Buckets, m.Native, m.Nodes
		opts.Connections = func() (open, refused, floods int64) {
			s := g.public.Stats()
			return s.Conns, s.Refused, s.Floods
		}
		if g.certificates != nil {
			opts.Certificates = g.certificateEnds
		}
		o.metrics = metrics.New(opts)
	}
	return o, nil
}

// certificateEnds returns when the certificates of the public listener end, by
// their files.
func (g *gateway) certificateEnds() map[string]time.Time {
	ends := make(map[string]time.Time)
	for _, e := range g.certificates.Expiries() {
		ends[filepath.Base(e.File)] = e.Until
	}
	return ends
}

// newTracer makes what the key tracing says.
func (g *gateway) newTracer(ctx context.Context, t *config.Tracing) (*tracing.Tracer, error) {
	opts := &tracing.Options{
		Endpoint: t.Endpoint, Sample: t.Share(), Incoming: tracing.Incoming(t.Incoming), Service: t.Service, Version: version(),
		Attributes: t.Attributes, Client: t.Client, Header: make(map[string]string), Logger: g.log,
	}
	opts.Broker, _, _ = strings.Cut(g.cfg.brokerURL(), ":")
	for name, secret := range t.Headers {
		opts.Header[name] = string(secret)
	}
	if t.CA != "" {
		pem, err := os.ReadFile(string(t.CA))
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		opts.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
		if !opts.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s holds no PEM certificate", t.CA)
		}
	}
	return tracing.New(ctx, opts)
}

// logOutput returns where the access log goes.
func (g *gateway) logOutput(file, output string) (io.Writer, error) {
	if file == "" {
		if output == "stderr" {
			return os.Stderr, nil
		}
		return os.Stdout, nil
	}
	f := &logFile{name: file}
	if err := f.reopen(); err != nil {
		return nil, err
	}
	g.reopen = f.reopen
	g.onClose(f.Close)
	return f, nil
}

// A logFile is a file that lines are added to. Whoever moves it away has it made
// again by reopen.
type logFile struct {
	name string

	mu   sync.Mutex
	file *os.File
}

// Write implements io.Writer.
func (f *logFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Write(p)
}

// reopen opens the file of that name, which may be another by now.
func (f *logFile) reopen() error {
	file, err := os.OpenFile(f.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640) //nolint:gosec // the operator names it
	if err != nil {
		return err
	}
	f.mu.Lock()
	old := f.file
	f.file = file
	f.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

// Close implements io.Closer.
func (f *logFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Close()
}

// outerRing lays around h what every request passes before it is routed.
func (g *gateway) outerRing(o *observed, h http.Handler) (http.Handler, error) {
	l := g.cfg.file.Limits
	if l == nil {
		l = new(config.Limits)
	}
	limits, err := middleware.NewLimits(&middleware.LimitsOptions{
		InFlight: l.InFlight, Streams: l.Streams, PerClient: l.PerClient, Memory: int64(l.Memory),
	})
	if err != nil {
		return nil, fmt.Errorf("%s: limits: %w", g.cfg.configFile, err)
	}
	g.background = append(g.background, limits.Run)
	h = middleware.Bounds(&middleware.BoundsOptions{HeaderFields: l.HeaderFields, URLBytes: int(l.URLBytes)})(h)
	h = limits.Wrap(h)
	if o.tracer != nil {
		h = o.tracer.Middleware(h)
	}
	if o.metrics != nil {
		h = o.metrics.Middleware(h)
	}
	if o.accessLog != nil {
		h = o.accessLog.Middleware(h)
	}
	return middleware.Client(g.proxies)(middleware.RequestID(nil)(h)), nil
}

// handlers returns the handlers of routes as they are traced.
func (o *observed) handlers(handlers map[string]http.Handler) map[string]http.Handler {
	if o.tracer == nil {
		return handlers
	}
	traced := make(map[string]http.Handler, len(handlers))
	for name, h := range handlers {
		traced[name] = o.tracer.Handler(name, h)
	}
	return traced
}
