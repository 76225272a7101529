// Package config reads the configuration file, and lays what it says on routes.
//
// The file is YAML. [Load] reads it strictly: what it does not know is wrong, and
// so is what cannot be; the error tells of all mistakes, each in one line, with
// its place and with what to write instead. In every text ${NAME} stands for an
// environment variable, ${NAME:-DEFAULT} for one that may be missing, and $$ for a
// "$"; secrets may be given as files instead, and are shown nowhere. Relative
// paths start at the directory of the file. Aliases may be used, merge keys may
// not. An empty file is all defaults.
//
// A [File] has the settings of the server under the names of their flags, sections
// about the gateway as a whole, and policies. [Schema] describes it to editors;
// [File.Fixed] says what of a change takes a restart, and a [Watcher] when there
// is one.
//
// # Policies
//
// [New] makes [Policies] of a File. [Policies.Wrap] is the Wrap of a
// goapi.Gateway: it gives the requests of a route the timeouts, limits, identity
// and headers that the most specific layer of the file says, key by key, and
// [Policies.Explain] tells which layer that is. A Policies does not change: a
// reload makes another one, for another Gateway with the same router.
//
// The inner ring of a route is, from the outside: addresses, CORS, rate limits,
// authentication, rate limits by what that has found out, security headers, other
// headers, rewriting, compression.
//
// # Patterns
//
// A pattern is matched with the request, not with the route, as the router matches
// paths: segment by segment, each decoded once. But a slash at the end says
// nothing, so that /admin/** is /admin, /admin/ and all below.
//
// A pattern may protect something, and services read paths in more ways than one:
// some take %2F or "\" for a slash, or "//" for one, or leave out what follows a
// ";". A request whose path matches other patterns when it is read like that is
// refused with 400. Where no pattern tells the two readings apart, it is served.
// Case counts.
package config
