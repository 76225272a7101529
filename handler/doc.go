// Package handler holds the http.Handlers that serve routed requests.
//
// Each takes the route from the request's context, where a [goapi.Gateway] or
// [goapi.With] has put it, and tries nodes of the route's upstream. [RPC]
// turns a request into a call of a method. [Call] is for operators: the
// request itself says which method of which service.
//
// An error of a service is answered with its own status, id and detail; see
// [goapi.WriteError]. That a node cannot be reached is 502, that there is none
// 503, and that time ran out 504.
package handler
