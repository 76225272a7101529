// Package test holds black-box tests: the built command, real processes, real
// clients and faults. README.md says how to run suites from outside.
package test
