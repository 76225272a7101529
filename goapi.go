// Package goapi is an API gateway that is driven by service discovery.
//
// Services announce themselves and the HTTP routes of their endpoints in a
// registry. A [Router] finds the [Route] of a request, and a [Gateway] hands it
// to the handler that the route's endpoint names: an [http.Handler] that turns
// it into what the service speaks.
//
// This package holds the words that the parts share. The routing table is in
// package router, the handlers are in package handler, and the nodes behind a
// route in package upstream. Command goapi is a server made of them.
package goapi
