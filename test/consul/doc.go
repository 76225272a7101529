// Package consul tries the registry of that name with a real agent, which it
// builds and runs.
//
// It is a module of its own, and the agent's is one within it: what an agent
// needs is no business of who uses the library, and is older than what the
// library needs.
package consul
