package main

import (
	"cmp"
	"math"
	"slices"
)

// quantile returns the value that a share q of the values do not exceed. It
// is one of the values: the nearest rank. There is at least one value.
func quantile[T cmp.Ordered](values []T, q float64) T {
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func median[T cmp.Ordered](values []T) T { return quantile(values, 0.5) }

// ratios divides what was measured in the same rounds.
func ratios(values, by []float64) []float64 {
	r := make([]float64, len(values))
	for i := range values {
		r[i] = values[i] / by[i]
	}
	return r
}
