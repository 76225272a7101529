//go:build !race

package test

// raced says that the race detector takes its part of the processor.
const raced = false
