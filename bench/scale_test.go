package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestScale measures in small.
func TestScale(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{
		"scale", "-scale-only", "NATS,etcd", "-scale-services", "10", "-starts", "1", "-idle", "10ms", "-churn", "1s", "-churn-rate", "20", "-load", "20",
	}, &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"10 services of 3 nodes and 10 endpoints", "20 changes/s for 1s beside 20 requests/s", "\n| NATS | ", "\n| etcd | "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("scale = %s\nwant %q in it", out.String(), want)
		}
	}
}

func TestScaleRefuses(t *testing.T) {
	tests := []struct{ name, flag, value, want string }{
		{"no services", "-scale-services", "0", "-scale-services"},
		{"no changes", "-churn-rate", "0", "-churn-rate"},
		{"an unknown registry", "-scale-only", "zookeeper", "zookeeper"},
		{"one without another place", "-scale-only", "file", "file: there is no place"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := run(t.Context(), []string{"scale", tt.flag, tt.value}, new(bytes.Buffer))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("scale %s %s error = %v, want one with %q", tt.flag, tt.value, err, tt.want)
			}
		})
	}
}

func TestScaleRow(t *testing.T) {
	m := &scale{
		starts: []float64{2, 1, 4},
		rest:   memory{resident: 512 * 1024, heap: 256 * 1024},
		idle:   0.004,
		quiet:  period{served: []time.Duration{1e6, 2e6}, cores: []float64{0.5, 0.5}},
		churn:  period{shown: []time.Duration{3e6, 7e6}, served: []time.Duration{2e6, 3e6}, cores: []float64{0.6}},
	}
	var out bytes.Buffer
	m.print(&out, "etcd")
	if got, want := out.String(), "| etcd | 2.00 | 1.00–4.00 | 256 | 512 | 0.40 | 3.0 | 7.0 | 2.0 | 3.0 | 1.50 | 0.60 |\n"; got != want {
		t.Errorf("print = %q, want %q", got, want)
	}
}

// TestOnSchedule: what is slow does not hold up what is due.
func TestOnSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		begin := time.Now()
		err := onSchedule(t.Context(), 10, time.Second, func(_ context.Context, i int, due time.Time) error {
			if want := begin.Add(time.Duration(i) * 100 * time.Millisecond); !due.Equal(want) || !time.Now().Equal(want) {
				t.Errorf("call %d is at %v, due %v, want %v", i, time.Now(), due, want)
			}
			calls.Add(1)
			time.Sleep(10 * time.Second)
			return nil
		})
		if err != nil || calls.Load() != 10 {
			t.Errorf("onSchedule = %d calls, %v; want 10, nil", calls.Load(), err)
		}
		if took := time.Since(begin); took != 10*time.Second+900*time.Millisecond {
			t.Errorf("onSchedule took %v, want until the last returned", took)
		}
	})
}

func TestOnScheduleEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		var calls atomic.Int32
		err := onSchedule(t.Context(), 10, time.Hour, func(_ context.Context, i int, _ time.Time) error {
			if calls.Add(1); i == 5 {
				return broken
			}
			return nil
		})
		if !errors.Is(err, broken) || calls.Load() > 7 {
			t.Errorf("onSchedule = %d calls, %v; want that the first error ends it", calls.Load(), err)
		}
	})
}
