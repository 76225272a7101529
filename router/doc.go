// Package router finds the route of a request in what services announce.
//
// A [Table] holds the routes of a set of services. It does not change: with
// [Table.Next] it grows into the table of the next state, at the cost of what
// changed. [Live] follows a registry and always has the latest table; [Static]
// makes a table without any registry.
//
// # Paths
//
// An endpoint's path is a template as of google.api.http, or a regular
// expression.
//
//	/users                literal
//	/users/{id}           one segment, which is not empty; also {id=*}, or * without a name
//	/files/{path=**}      whatever follows, with its slashes, if anything; only last
//	/v1/{name=shelves/*}  a variable of several segments
//	/users/{id}:disable   a verb: what follows the last colon of the last segment
//
// A request's path is split at "/" as it was received, and each segment is then
// decoded once: an escaped slash is part of a segment. Nothing is cleaned:
// "/a" and "/a/" are two paths, and "//" has an empty segment. What programs
// read differently is refused with 400: segments that are or hide "." or "..",
// control characters, and a "#" that is not escaped.
//
// What starts with "^" and ends with "$" is a regular expression (RE2). It is
// matched with the whole path as it was received, escapes and all. Named groups
// become path variables, decoded once.
//
// # Order
//
// The order of the routes does not depend on the order of announcements. An
// exact host comes before a wildcard ("*.example.com"), of which the longer
// comes first, and before any host; a host with a port before one without.
// Then patterns are compared segment by segment: a literal comes before a
// variable, that before "**", and that before a regular expression, whose
// literal segments at the start count as such; of two expressions the one with
// the longer literal start comes first. Of equal patterns, one with a verb comes
// before one without, and one that names the method before one for any. HEAD
// follows GET where nothing names HEAD. A WebSocket handshake, which is always a
// GET, is also for an endpoint of the rpc handler with stream=true that names
// other methods, where nothing at its place is for GET.
//
// Routes come before anything that a resolver finds: a service that announces
// "/**" takes the requests that would name another service. The list of routes
// shows it; it is no report, since what a resolver would find is not known.
//
// When two services claim one route, it is the one's that the operator calls
// the gateway's own ([Options.Operator]); else the one that has it keeps it; else
// it is the earlier registry's, or the smaller name's. The other one waits, and is
// reported.
//
// # Bounds
//
// What services announce is data: what cannot be routed is left out and
// reported, and hurts no other service. What one request can cost does not grow
// with the number of services:
//
//   - The templates of a service mix literals and variables in at most 512 ways.
//     Those of honest services do so in a few dozen.
//   - The regular expressions of a service that one path is matched with cost at
//     most 400: each about its instructions after the literal start. Those that
//     start with the same literal text cost 3200 in all services; further ones
//     wait for room, the earlier first, in one change the smaller name's.
//   - A search has a budget, which very many services have to mean to use up. It
//     then skips what is less specific, and the resolver is asked as ever.
package router
