// Package service is for programs that want to be found: it announces a name,
// endpoints and an address in a registry, keeps the announcement alive, and
// withdraws it before the program stops.
package service
