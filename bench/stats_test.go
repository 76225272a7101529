package main

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestQuantile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	tests := []struct {
		name   string
		values []int
		q      float64
		want   int
	}{
		{"one", []int{7}, 0.5, 7},
		{"least", []int{3, 1, 2}, 0, 1},
		{"median of odd", []int{3, 1, 2}, 0.5, 2},
		{"median of even is the lower", []int{4, 3, 1, 2}, 0.5, 2},
		{"most", []int{3, 1, 2}, 1, 3},
		{"p99 of a hundred", hundred, 0.99, 99},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := quantile(tt.values, tt.q); got != tt.want {
				t.Errorf("quantile(%v, %v) = %d, want %d", tt.values, tt.q, got, tt.want)
			}
		})
	}
}

func TestQuantileIsAShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.IntRange(0, 20), 1, 50).Draw(t, "values")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		before := slices.Clone(values)
		got := quantile(values, q)
		if !slices.Equal(values, before) {
			t.Fatal("quantile changed its argument")
		}
		within := 0
		for _, v := range values {
			if v <= got {
				within++
			}
		}
		if float64(within) < q*float64(len(values)) {
			t.Fatalf("quantile(%v, %v) = %d: %d values do not exceed it", values, q, got, within)
		}
	})
}

func TestRatios(t *testing.T) {
	got := ratios([]float64{1, 4, 9}, []float64{2, 2, 3})
	if want := []float64{0.5, 2, 3}; !slices.Equal(got, want) {
		t.Errorf("ratios = %v, want %v", got, want)
	}
}
