// Package acme tests certificates that are issued, with Pebble for the authority:
// a module of its own, so that nobody who builds the gateway needs Pebble.
package acme
