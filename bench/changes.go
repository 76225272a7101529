package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/goapi-dev/goapi/registry"
)

// changes is what was measured of services that come and go.
type changes struct {
	writer     registry.Writer // where they are announced
	client     *http.Client
	public     string        // the URL of the gateway
	node       string        // the address of every service
	pause      time.Duration // between two requests that look whether a change shows
	came, went []time.Duration
	wrote      []time.Duration // of these, what the calls of the writer took
}

// fill announces the services that stay, and waits until all are served.
func (m *changes) fill(ctx context.Context, services int) error {
	var group errgroup.Group
	group.SetLimit(hands)
	for i := range services {
		group.Go(func() error {
			return m.writer.Register(ctx, newService("stays-"+strconv.Itoa(i), m.node, "http", "/stays/"+strconv.Itoa(i)), 0)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i := range services {
		if err := m.until(ctx, "/stays/"+strconv.Itoa(i), http.StatusOK); err != nil {
			return err
		}
	}
	return nil
}

// comeAndGo announces a service until it is served, and withdraws it until it
// is not. Both are timed from before the call of the writer.
func (m *changes) comeAndGo(ctx context.Context, i int) error {
	path := "/goes/" + strconv.Itoa(i)
	s := newService("goes-"+strconv.Itoa(i), m.node, "http", path)
	took, err := m.timed(ctx, func() error { return m.writer.Register(ctx, s, time.Minute) }, path, http.StatusOK)
	if err != nil {
		return err
	}
	m.came = append(m.came, took)
	took, err = m.timed(ctx, func() error { return m.writer.Deregister(ctx, s) }, path, http.StatusServiceUnavailable)
	if err != nil {
		return err
	}
	m.went = append(m.went, took)
	return nil
}

// timed makes a change and returns how long it took to show.
func (m *changes) timed(ctx context.Context, change func() error, path string, status int) (time.Duration, error) {
	start := time.Now()
	if err := change(); err != nil {
		return 0, err
	}
	m.wrote = append(m.wrote, time.Since(start))
	err := m.until(ctx, path, status)
	return time.Since(start), err
}

// until asks for a path, again and again, until the answer has the status.
func (m *changes) until(ctx context.Context, path string, status int) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		got, err := fetch(ctx, m.client, http.MethodGet, m.public+path, nil)
		if err != nil {
			return fmt.Errorf("%s does not become %d: %w", path, status, err)
		}
		if got.status == status {
			return nil
		}
		time.Sleep(m.pause)
	}
}

// overAdmin is the registry of a gateway, written over its admin API.
type overAdmin struct{ gateway *gateway }

// Register implements registry.Writer. What it registers stays until it is
// withdrawn.
func (o overAdmin) Register(ctx context.Context, s *registry.Service, _ time.Duration) error {
	return o.gateway.register(ctx, s)
}

// Deregister implements registry.Writer.
func (o overAdmin) Deregister(ctx context.Context, s *registry.Service) error {
	return o.gateway.deregister(ctx, s)
}
