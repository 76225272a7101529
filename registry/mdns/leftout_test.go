package mdns

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

func TestOmissions(t *testing.T) {
	now := time.Unix(0, 0)
	var log bytes.Buffer
	o := omissions{log: slog.New(slog.NewTextHandler(&log, nil))}
	if got := o.all(nil); len(got) != 0 {
		t.Errorf("at first %v is left out, want nothing", got)
	}
	for range 3 {
		o.add(now, "b", "greeter", "it is late")
		o.add(now, "a", "", "it is early")
	}
	want := []registry.Omission{{Key: "a", Reason: "it is early"}, {Key: "b", Service: "greeter", Reason: "it is late"}}
	if got := o.all(nil); !slices.Equal(got, want) {
		t.Errorf("left out: %v, want %v", got, want)
	}
	if lines := strings.Count(log.String(), "\n"); lines != 2 {
		t.Errorf("%d lines are logged, want one for each record:\n%s", lines, &log)
	}
	shadowed := registry.Omission{Key: "aa", Service: "greeter", Node: "1", Reason: "another has its id"}
	if got, want := o.all([]registry.Omission{shadowed}), []registry.Omission{want[0], shadowed, want[1]}; !slices.Equal(got, want) {
		t.Errorf("left out with others: %v, want %v", got, want)
	}
	o.remove("a")
	o.remove("c")
	if got := o.all(nil); !slices.Equal(got, want[1:]) {
		t.Errorf("left out then: %v, want %v", got, want[1:])
	}
	o.expire(now.Add(omissionLife + 1))
	if got := o.all(nil); len(got) != 0 {
		t.Errorf("left out later: %v, want nothing", got)
	}
}

// TestOmissionFlood has a sender of nonsense fill neither memory nor logs.
func TestOmissionFlood(t *testing.T) {
	now := time.Unix(0, 0)
	var log bytes.Buffer
	o := omissions{log: slog.New(slog.NewTextHandler(&log, nil))}
	for i := range 100_000 {
		o.add(now, fmt.Sprint(i%1000), "", fmt.Sprint(i))
	}
	if got := len(o.all(nil)); got != maxOmissions {
		t.Errorf("%d records are remembered, want %d", got, maxOmissions)
	}
	if lines := strings.Count(log.String(), "\n"); lines != maxLogged {
		t.Errorf("%d lines are logged at once, want %d", lines, maxLogged)
	}
}
