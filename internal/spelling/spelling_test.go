package spelling_test

import (
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/internal/spelling"
)

func TestNearest(t *testing.T) {
	known := []string{"timeout", "max_body", "retries", "Address"}
	for word, want := range map[string]string{
		"timeuot": "timeout", "timeou": "timeout", "Timeout": "timeout", "max-body": "max_body", "max body": "max_body",
		"maxbody": "max_body", "retrys": "retries", "address": "Address",
		"": "", "t": "", "cors": "", "entirely different": "", strings.Repeat("timeout", 1000): "",
	} {
		if got := spelling.Nearest(word, known); got != want {
			t.Errorf("Nearest(%.30q) = %q, want %q", word, got, want)
		}
	}
	if got := spelling.Nearest("timeout", nil); got != "" {
		t.Errorf("Nearest of nothing = %q, want none", got)
	}
}

// FuzzNearest: what is known is itself, and what is found is known.
func FuzzNearest(f *testing.F) {
	f.Add("timeout", "time_out")
	f.Add("", "ü")
	f.Fuzz(func(t *testing.T, word, other string) {
		got := spelling.Nearest(word, []string{other})
		if got != "" && got != other {
			t.Errorf("Nearest(%q, %q) = %q", word, other, got)
		}
		if word != "" && spelling.Nearest(word, []string{other, word}) == "" {
			t.Errorf("Nearest(%q) does not find itself", word)
		}
	})
}
