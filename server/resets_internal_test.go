package server

import (
	"testing"
	"time"
)

// TestResets has a client reset so many streams a second, each at its time.
func TestResets(t *testing.T) {
	const maxStreams = 250
	tests := []struct {
		name   string
		second int
		want   time.Duration // until it is too much; 0 for never
	}{
		{"as many as there may be", maxStreams, 0},
		{"half as many again", maxStreams * 3 / 2, 8 * time.Second},
		{"five times as many", maxStreams * 5, time.Second},
		{"a flood", maxStreams * 100, resetBurst * time.Second / 99},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := resets{each: time.Second / maxStreams}
			began := time.Unix(1000, 0)
			var got time.Duration
			for past := time.Duration(0); past < time.Hour; past += time.Second / time.Duration(tt.second) {
				if !r.add(began.Add(past)) {
					got = past
					break
				}
			}
			if diff := (got - tt.want).Abs(); diff > 100*time.Millisecond {
				t.Errorf("%d a second were too many after %s, want %s", tt.second, got, tt.want)
			}
		})
	}
}

// TestResetsInTheBeginning has a client reset as many as it may at once, on
// connections that are older and older.
func TestResetsInTheBeginning(t *testing.T) {
	const maxStreams = 250
	tests := []struct {
		name string
		part float64
		age  time.Duration
		want int
	}{
		{"at once", 1, 0, maxStreams},
		{"after a second", 1, time.Second, 2 * maxStreams},
		{"after three", 1, 3 * time.Second, 4 * maxStreams},
		{"after an hour", 1, time.Hour, 4 * maxStreams},
		{"at once, by one who is not trusted", 0.1, 0, maxStreams / 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := resets{each: time.Second / maxStreams}
			now := time.Unix(1000, 0)
			r.begin(now, tt.part)
			got := 0
			for r.add(now.Add(tt.age)) {
				got++
			}
			if got != tt.want {
				t.Errorf("%d were allowed, want %d", got, tt.want)
			}
		})
	}
}

// TestResetsAreForgotten has a client reset all that it may, again and again.
func TestResetsAreForgotten(t *testing.T) {
	const maxStreams = 10
	r := resets{each: time.Second / maxStreams}
	now := time.Unix(1000, 0)
	for round := range 5 {
		for i := range resetBurst * maxStreams {
			if !r.add(now) {
				t.Fatalf("round %d: %d at once were too many, want %d allowed", round, i+1, resetBurst*maxStreams)
			}
		}
		if r.add(now) {
			t.Errorf("round %d: %d at once were allowed", round, resetBurst*maxStreams+1)
		}
		now = now.Add((resetBurst + 1) * time.Second)
	}
}
