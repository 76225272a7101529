package ratelimit_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/ratelimit"
)

func TestRateCheck(t *testing.T) {
	tests := []struct {
		name string
		rate ratelimit.Rate
		want string // in the error; "" is none
	}{
		{"by the second", ratelimit.Rate{Requests: 1}, ""},
		{"by the hour", ratelimit.Rate{Requests: 100, Per: time.Hour, Burst: 10}, ""},
		{"a burst above the rate", ratelimit.Rate{Requests: 1, Per: time.Second, Burst: 1000}, ""},
		{"zero", ratelimit.Rate{}, "0 requests are no rate"},
		{"negative", ratelimit.Rate{Requests: -1}, "-1 requests are no rate"},
		{"many", ratelimit.Rate{Requests: math.MaxInt}, "no rate: write 1 to 1000000000"},
		{"a time that is negative", ratelimit.Rate{Requests: 1, Per: -1}, "a rate per -1ns cannot be kept: write 1ms to"},
		{"a time that is short", ratelimit.Rate{Requests: 1, Per: time.Microsecond}, "a rate per 1µs cannot be kept"},
		{"a time that is long", ratelimit.Rate{Requests: 1, Per: 9000 * time.Hour}, "cannot be kept"},
		{"a negative burst", ratelimit.Rate{Requests: 1, Burst: -1}, "a burst of -1 cannot be kept"},
		{"a burst that is large", ratelimit.Rate{Requests: 1, Burst: math.MaxInt}, "cannot be kept"},
		{"a burst that comes back in years", ratelimit.Rate{Requests: 1, Per: time.Hour, Burst: 10000}, "write a smaller burst"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.rate.Check()
			if got := errorText(err); (err == nil) != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("Check() = %q, want %q", got, tt.want)
			}
			if strings.Contains(errorText(err), "\n") {
				t.Errorf("Check() = %q, want one line", errorText(err))
			}
			m := ratelimit.NewMemory(tt.rate, nil)
			if got := m.Allow("a", time.Now()).OK; got != (err == nil) {
				t.Errorf("Allow() = %t for a rate whose Check() is %v", got, err)
			}
		})
	}
}

func TestRateOrDefault(t *testing.T) {
	m := ratelimit.NewMemory(ratelimit.Rate{Requests: 3}, nil)
	if got, want := m.Rate(), (ratelimit.Rate{Requests: 3, Per: time.Second, Burst: 3}); got != want {
		t.Errorf("Rate() = %+v, want %+v", got, want)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
