package nats

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w writes
		check := func(when, service string, want uint64) {
			t.Helper()
			if got := w.latest(service); got != want {
				t.Errorf("%s: latest(%q) = %d, want %d", when, service, got, want)
			}
		}
		check("at first", "", 0)
		w.add("a", 7)
		w.add("b", 5)
		w.add("a", 6) // was overtaken
		check("after writes", "a", 7)
		check("after writes", "b", 5)
		check("after writes", "c", 0)
		check("after writes", "", 7)

		time.Sleep(settle)
		check("at the last moment", "", 7)
		time.Sleep(time.Nanosecond)
		check("later", "a", 0)
		check("later", "", 0)
		w.add("c", 8)
		if len(w.last) != 1 {
			t.Errorf("%d writes are remembered, want 1", len(w.last))
		}
		w.forget()
		check("in a new bucket", "", 0)
	})
}
