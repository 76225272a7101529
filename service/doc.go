// Package service is for programs that want to be found: it announces a name,
// endpoints and an address in a registry, keeps the announcement alive, and
// withdraws it before the program stops.
//
// A [Service] serves typed methods in go-micro's RPC, so that go-micro's own
// clients of every version can call them, or any http.Handler, or both on one
// address. [Announce] does without serving: for servers that are there already.
package service
