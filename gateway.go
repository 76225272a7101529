package goapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
)

// A Gateway is an http.Handler that routes each request and hands it to the
// handler that the route's endpoint names. Its fields are not changed once it
// serves; it may be used concurrently.
type Gateway struct {
	// Router finds the route of a request.
	Router Router
	// Handlers are those that endpoints may name.
	Handlers map[string]http.Handler
	// Wrap, if set, lays a route's policy around its handler: the inner ring.
	// It is called once for a route, not for a request, as long as no other
	// Gateway serves the routes of the same Router.
	Wrap func(*Route, http.Handler) http.Handler
	// Logger gets what clients are not told: the causes of errors by the
	// gateway or a service (5xx), and answers that broke off. Nil is silent.
	Logger *slog.Logger
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ex := ExchangeFrom(r.Context())
	if ex == nil {
		w, r, ex = NewExchange(w, r)
	}
	if g.Logger != nil {
		defer g.log(r, ex)
	}
	rt, err := g.Router.Route(r)
	if err != nil {
		WriteError(w, r, err)
		return
	}
	ex.Route = rt
	h, err := g.handler(rt)
	if err != nil {
		WriteError(w, r, err)
		return
	}
	h.ServeHTTP(w, r)
}

// handler returns the route's handler within its inner ring.
func (g *Gateway) handler(rt *Route) (http.Handler, error) {
	if rt.like != nil {
		rt = rt.like
	}
	if ring := rt.ring.Load(); ring != nil && ring.gateway == g {
		return ring.handler, nil
	}
	h, ok := g.Handlers[rt.Endpoint.Handler]
	if !ok {
		return nil, NewError(http.StatusNotImplemented,
			fmt.Sprintf("this gateway has no handler %q, which the route names", rt.Endpoint.Handler), nil)
	}
	if g.Wrap != nil {
		h = g.Wrap(rt, h)
	}
	rt.ring.Store(&ring{gateway: g, handler: h})
	return h, nil
}

// log tells what the answer could not.
func (g *Gateway) log(r *http.Request, ex *Exchange) {
	if ex.Err == nil || errors.Is(ex.Err, http.ErrAbortHandler) {
		return
	}
	status := Status(ex.Err)
	level := slog.LevelDebug
	if status >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	if !g.Logger.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", bounded(r.URL.EscapedPath())),
		slog.Int("status", status), slog.String("error", bounded(ex.Err.Error())),
	}
	if ex.Route != nil {
		attrs = append(attrs, slog.String("service", ex.Route.Service), slog.String("endpoint", ex.Route.Endpoint.Name))
	}
	if ex.Node != "" {
		attrs = append(attrs, slog.String("node", ex.Node), slog.Int("attempts", ex.Attempts))
	}
	g.Logger.LogAttrs(r.Context(), level, "request failed", attrs...)
}

// maxLogged bounds what clients and services have to say in a line of the log.
const maxLogged = 1000

// bounded returns the start of s.
func bounded(s string) string {
	if len(s) > maxLogged {
		return strings.ToValidUTF8(s[:maxLogged], "") + "…"
	}
	return s
}

// With returns h for requests of one route: any handler alone, on any mux.
// Path variables are those that the mux has set.
func With(rt *Route, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := ExchangeFrom(r.Context())
		if ex == nil {
			w, r, ex = NewExchange(w, r)
		}
		ex.Route = rt
		h.ServeHTTP(w, r)
	})
}
