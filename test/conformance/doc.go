// Package conformance tries the gateway with suites that others have written for
// gRPC: it stands between their clients and their servers, which must not notice.
//
// It is a module of its own, so that what the suites need is no business of who
// uses the library.
package conformance
