// Package middleware holds what lies around handlers, each a function from one
// http.Handler to another.
//
// The outer ring sees every request before it is routed, in this order: [Client]
// finds the address that it comes from, [RequestID] gives it an id, [AccessLog]
// writes a line of it, [Limits] sheds what is too much, and [Bounds] refuses what no
// handler is to see.
//
// The inner ring is a route's policy: [Addresses], [Unclaimed], [CORS],
// [RateLimit], [Auth] with its Authenticators, [SecurityHeaders], [Headers] and
// [Rewrite]; package compress is the innermost. Parts that find an
// [goapi.Exchange] in the context use it, and make one otherwise; so each works
// alone, around any handler.
package middleware
