// Package middleware holds what lies around handlers, each a function from one
// http.Handler to another.
//
// The outer ring sees every request before it is routed: [Bounds]. The inner
// ring is a route's policy.
package middleware
