package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
)

// The cores: what is measured has one to itself.
const (
	gatewayCore = 0
	loadCore    = 1 // and the origin
	anyCore     = -1
)

// A peer is a gateway that is measured, as one process with one worker.
type peer struct {
	name  string
	start func(ctx context.Context, l *lab, address, origin string) (*process, error)
}

// baseline is the peer that the others are compared with.
const baseline = "httputil.ReverseProxy"

// peers returns what is measured, in order.
func peers() []peer {
	return []peer{
		{"goapi", startGoapi},
		{baseline, func(ctx context.Context, l *lab, address, origin string) (*process, error) {
			return startBare(ctx, l, "bare", address, origin)
		}},
		{baseline + ", pooled buffers", func(ctx context.Context, l *lab, address, origin string) (*process, error) {
			return startBare(ctx, l, "pooled", address, origin, "-pool")
		}},
		{"nginx", startNginx},
		{"haproxy", startHaproxy},
	}
}

// nginxHead is what the origin and the gateway have in common: one process,
// no log, connections that last.
const nginxHead = `daemon off;
master_process off;
worker_processes 1;
pid $dir/$name.pid;
error_log $dir/$name.error.log crit;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path $dir/$name.body;
  proxy_temp_path $dir/$name.proxy;
  fastcgi_temp_path $dir/$name.fastcgi;
  uwsgi_temp_path $dir/$name.uwsgi;
  scgi_temp_path $dir/$name.scgi;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
`

const nginxGateway = nginxHead + `
  upstream origin {
    server $origin;
    keepalive 256;
    keepalive_requests 1000000000;
  }
  server {
    listen $address;
    location / {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_max_temp_file_size 0;
    }
  }
}
`

const nginxOrigin = nginxHead + `
  default_type application/octet-stream;
  sendfile on;
  open_file_cache max=10 inactive=1h;
  server {
    listen $address;
    root $dir;
    location = /post { return 200 "ok"; }
  }
}
`

const haproxyGateway = `global
  nbthread 1
  maxconn 4096
defaults
  mode http
  http-reuse always
  option forwardfor
  timeout connect 2s
  timeout client 300s
  timeout server 30s
frontend gateway
  bind $address
  default_backend origin
backend origin
  server origin $origin
`

// startOrigin starts what stands behind every gateway: static answers by
// nginx, the cheapest there is, so that the origin is not what is measured.
func startOrigin(ctx context.Context, l *lab) (address string, err error) {
	for name, size := range map[string]int{"1k": 1 << 10, "100k": 100 << 10} {
		if _, err := l.file(name, strings.Repeat("x", size)); err != nil {
			return "", err
		}
	}
	if address, err = freeAddress(ctx); err != nil {
		return "", err
	}
	p, err := startConfigured(ctx, l, "origin", loadCore, nginxOrigin, address, "", "nginx", "-e", "stderr", "-p", l.dir, "-c")
	if err != nil {
		return "", err
	}
	return address, p.await(ctx, "http://"+address+"/1k")
}

func startNginx(ctx context.Context, l *lab, address, origin string) (*process, error) {
	return startConfigured(ctx, l, "nginx", gatewayCore, nginxGateway, address, origin, "nginx", "-e", "stderr", "-p", l.dir, "-c")
}

func startHaproxy(ctx context.Context, l *lab, address, origin string) (*process, error) {
	return startConfigured(ctx, l, "haproxy", gatewayCore, haproxyGateway, address, origin, "haproxy", "-db", "-f")
}

// startConfigured starts a program whose last argument is its configuration.
func startConfigured(ctx context.Context, l *lab, name string, core int, config, address, origin, program string, args ...string) (*process, error) {
	config = strings.NewReplacer("$dir", l.dir, "$name", name, "$address", address, "$origin", origin).Replace(config)
	path, err := l.file(name+".conf", config)
	if err != nil {
		return nil, err
	}
	return l.start(ctx, name, core, program, append(args, path)...)
}

// startBare starts this program as the baseline.
func startBare(ctx context.Context, l *lab, name, address, origin string, flags ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := append([]string{bareCommand, "-address", address, "-origin", "http://" + origin}, flags...)
	return l.start(ctx, name, gatewayCore, self, args...)
}

// startGoapi starts the gateway and announces the origin to it, as a service
// with a route for every path.
func startGoapi(ctx context.Context, l *lab, address, origin string) (*process, error) {
	g, err := runGoapi(ctx, l, gatewayCore, address)
	if err != nil {
		return nil, err
	}
	return g.process, g.register(ctx, newService("origin", origin, "http", "/**"))
}

// A gateway is a running goapi and its admin API.
type gateway struct {
	*process

	admin  string // a URL
	client *http.Client
}

// runGoapi builds goapi as a user would, runs it, and waits until it is ready.
func runGoapi(ctx context.Context, l *lab, core int, address string, flags ...string) (*gateway, error) {
	program, err := buildGoapi(ctx, l)
	if err != nil {
		return nil, err
	}
	g, err := launchGoapi(ctx, l, program, core, address, flags...)
	if err != nil {
		return nil, err
	}
	err = g.await(ctx, g.admin+"/readyz")
	return g, err
}

func buildGoapi(ctx context.Context, l *lab) (program string, err error) {
	program = filepath.Join(l.dir, "goapi")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/goapi-dev/goapi/cmd/goapi")
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build goapi: %w: %s", err, said)
	}
	return program, nil
}

// launchGoapi runs goapi, which may not be ready yet.
func launchGoapi(ctx context.Context, l *lab, program string, core int, address string, flags ...string) (*gateway, error) {
	admin, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	args := append([]string{
		"run", "--address", address, "--admin", admin, "--nats", "off", "--data", filepath.Join(l.dir, "data"),
	}, flags...)
	p, err := l.start(ctx, "goapi", core, program, args...)
	if err != nil {
		return nil, err
	}
	return &gateway{process: p, admin: "http://" + admin, client: &http.Client{Transport: new(http.Transport)}}, nil
}

// newService describes a service of one node, with one path.
func newService(name, address, handler, path string) *registry.Service {
	e := &goapi.Endpoint{Name: "All", Handler: handler, Path: []string{path}}
	return &registry.Service{
		Name:      name,
		Version:   "1",
		Endpoints: []*registry.Endpoint{e.Encode()},
		Nodes:     []*registry.Node{{ID: name + "-1", Address: address}},
	}
}

func (g *gateway) register(ctx context.Context, s *registry.Service) error {
	return g.change(ctx, http.MethodPost, s)
}

func (g *gateway) deregister(ctx context.Context, s *registry.Service) error {
	return g.change(ctx, http.MethodDelete, s)
}

// change sends a service to the admin API.
func (g *gateway) change(ctx context.Context, method string, s *registry.Service) error {
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	got, err := fetch(ctx, g.client, method, g.admin+"/registry", body)
	if err != nil {
		return err
	}
	if got.status/100 != 2 {
		return fmt.Errorf("%s /registry of %s: status %d", method, s.Name, got.status)
	}
	return nil
}
