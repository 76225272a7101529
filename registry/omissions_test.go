package registry_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

func TestOmissionsAreLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	var o registry.Omissions
	bad := registry.Omission{Key: "a/1", Reason: "no JSON"}
	twice := registry.Omission{Key: "a/2", Service: "a", Node: "n", Reason: "another record has its id"}
	reworded := registry.Omission{Key: "a/1", Reason: "still no JSON"}
	for i, tt := range []struct {
		list []registry.Omission
		want []string // in the log, in order
	}{
		{[]registry.Omission{bad}, []string{"no JSON"}},
		{[]registry.Omission{bad, twice}, []string{"service=a node=n"}},
		{[]registry.Omission{reworded}, nil},
		{nil, nil},
		{[]registry.Omission{bad}, []string{"record=a/1"}},
	} {
		out.Reset()
		o.Tell(log, tt.list)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(tt.want) == 0 && out.Len() > 0 || len(tt.want) > 0 && (len(lines) != len(tt.want) || !strings.Contains(lines[0], tt.want[0])) {
			t.Errorf("Tell %d logged %q, want %q", i, out.String(), tt.want)
		}
		if got := o.List(); !slices.Equal(got, tt.list) {
			t.Errorf("List after Tell %d = %v, want %v", i, got, tt.list)
		}
	}
}

// TestOmissionsFillNoLog: however many come, what is logged in a minute is
// bounded, and that there are more is said.
func TestOmissionsFillNoLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		var o registry.Omissions
		for minute := range 2 {
			out.Reset()
			for i := range 1000 {
				o.Tell(log, []registry.Omission{{Key: fmt.Sprint(minute, i), Reason: "no JSON"}})
			}
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if last := lines[len(lines)-1]; len(lines) != 61 || !strings.Contains(last, "more registry records are left out") {
				t.Errorf("%d lines are logged in minute %d, the last of them %q; want 61, and that there are more", len(lines), minute, last)
			}
			time.Sleep(time.Minute + time.Second)
		}
	})
}
