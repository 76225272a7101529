package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// An uploadRow is uploads of a kind.
type uploadRow struct {
	name    string
	handler string
	method  string
	http2   bool
	shared  bool   // all on one connection
	chunked bool   // the length is not announced
	staller string // "client" sends all but a byte, "service" does not read
}

func uploadRows() []uploadRow {
	const post, put = http.MethodPost, http.MethodPut
	return []uploadRow{
		{name: "http, HTTP/1.1", handler: "http", method: post, staller: service},
		{name: "http, HTTP/1.1, kept for a retry", handler: "http", method: put, staller: theClient},
		{name: "http, HTTP/2", handler: "http", method: post, http2: true, staller: service},
		{name: "http, HTTP/2, one connection", handler: "http", method: post, http2: true, shared: true, staller: service},
		{name: "http, HTTP/2", handler: "http", method: put, http2: true, staller: theClient},
		{name: "rpc, HTTP/1.1", handler: "rpc", method: post, staller: theClient},
		{name: "rpc, HTTP/1.1", handler: "rpc", method: post, staller: service},
		{name: "rpc, HTTP/1.1, length not known", handler: "rpc", method: post, chunked: true, staller: theClient},
		{name: "rpc, HTTP/2", handler: "rpc", method: post, http2: true, staller: theClient},
	}
}

// Who stalls.
const (
	theClient = "client"
	service   = "service"
)

// stalled is what was measured of uploads.
type stalled struct {
	peak    float64 // MiB over idle
	taken   float64 // MiB of each upload
	refused int
}

// stalledUploads has uploads begin, and not end.
func (b *memoryBench) stalledUploads(ctx context.Context, row uploadRow) (m stalled, err error) {
	released := make(chan struct{})
	h, end, err := b.holder(ctx, "policy: {max_body: 1GiB}\n", row.handler, holdUp(row.staller == theClient, released))
	if end != nil {
		defer func() { err = errors.Join(err, end()) }()
	}
	defer close(released)
	if err != nil {
		return m, err
	}
	if err := (&changes{client: h.client, public: h.public}).until(ctx, "/up", http.StatusOK); err != nil {
		return m, err
	}
	before, err := h.collect(ctx)
	if err != nil {
		return m, err
	}
	if err := h.resetPeak(); err != nil {
		return m, err
	}
	if err := b.upload(ctx, row, h.public+"/up", &m); err != nil {
		return m, err
	}
	peak, err := h.peak()
	m.peak = (peak - before.resident) / 1024
	return m, err
}

// holdUp is the service: it reads all of a body, or nothing of it, and answers one
// with a body when it is told to.
func holdUp(reads bool, released <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength >= 0 && r.ContentLength < 1<<10 {
			w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
			_, _ = io.WriteString(w, "{}") // the client is gone, then
			return
		}
		if reads {
			_, _ = io.Copy(io.Discard, r.Body) // which is what the measurement breaks off
		}
		select {
		case <-released:
		case <-r.Context().Done():
		}
	})
}

// upload makes the uploads, and returns when they have stalled for as long as they
// are to.
func (b *memoryBench) upload(ctx context.Context, row uploadRow, url string, m *stalled) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		sent, refused atomic.Int64
		group         errgroup.Group
		shared        = uploader(row.http2)
	)
	for range b.uploads {
		client := shared
		if !row.shared {
			client = uploader(row.http2)
		}
		body := &endless{left: int64(b.size), sent: &sent, ctx: ctx}
		if row.staller == theClient {
			body.left--
			body.stalls = true
		}
		group.Go(func() error {
			defer client.CloseIdleConnections()
			req, err := http.NewRequestWithContext(ctx, row.method, url, body)
			if err != nil {
				return err
			}
			if !row.chunked {
				req.ContentLength = int64(b.size)
			}
			req.Header.Set("Content-Type", "application/octet-stream")
			rsp, err := client.Do(req)
			if err == nil {
				defer rsp.Body.Close()
			}
			switch {
			case ctx.Err() != nil:
				return nil // it stalled until the end, which is what broke it off
			case err == nil && rsp.StatusCode != http.StatusServiceUnavailable && rsp.StatusCode != http.StatusRequestEntityTooLarge:
				return fmt.Errorf("%s %s: status %d", row.method, url, rsp.StatusCode)
			}
			refused.Add(1)
			return nil
		})
	}
	err := settled(ctx, &sent, b.hold)
	cancel()
	m.taken = float64(sent.Load()) / float64(b.uploads) / (1 << 20)
	m.refused = int(refused.Load())
	return errors.Join(err, group.Wait())
}

// settled waits until nothing more is sent for some time.
func settled(ctx context.Context, sent *atomic.Int64, quiet time.Duration) error {
	for last, since := int64(-1), time.Now(); time.Since(since) < quiet; {
		if now := sent.Load(); now != last {
			last, since = now, time.Now()
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// uploader returns a client with connections of its own.
func uploader(http2 bool) *http.Client {
	t := &http.Transport{Protocols: new(http.Protocols)}
	t.Protocols.SetHTTP1(!http2)
	t.Protocols.SetUnencryptedHTTP2(http2)
	return &http.Client{Transport: t}
}

// endless is a body that may stall before its end.
type endless struct {
	left   int64
	stalls bool
	sent   *atomic.Int64
	ctx    context.Context //nolint:containedctx // a body has no other way to end
}

// Read implements io.Reader.
func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		if e.stalls {
			<-e.ctx.Done()
		}
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), e.left))
	e.left -= int64(n)
	e.sent.Add(int64(n))
	return n, nil
}

// writeCertificate writes cert.pem and key.pem, of a certificate that signs itself.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}
