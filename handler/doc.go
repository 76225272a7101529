// Package handler holds the http.Handlers that serve routed requests.
//
// [RPC], [API], [HTTP] and [Web] take the route from the request's context,
// where a [goapi.Gateway] or [goapi.With] has put it, and try nodes of the
// route's upstream: RPC turns the request into a call of a method, API hands the
// whole request to a method as a message, HTTP forwards it as it is, and Web
// carries WebSockets and other upgrades besides. [GRPC], to which RPC hands what
// comes as gRPC or gRPC-Web, relays it as it is. [Event] and [CloudEvents]
// publish requests as messages, and [Broker] messages as they are, which it also
// hands on; see package broker. [Call] and [Registry] are for operators, and
// stand on mounts of their own listener: Call calls the method that the request
// itself names, and Registry shows and changes what is announced.
//
// An error of a service is answered with its own status, id and detail; see
// [goapi.WriteError]. That a node cannot be reached is 502, that there is none
// 503, and that time ran out 504.
package handler
