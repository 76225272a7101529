package compress

import (
	"strings"
	"testing"
)

func TestWeight(t *testing.T) {
	for params, want := range map[string]int{
		"": 1000, "q=1": 1000, "q=1.000": 1000, "q=0": 0, "q=0.0": 0, "q=0.5": 500, "q=0.05": 50, "q=0.125": 125, "a; Q = 0.25": 250,
		"a=b;q=0.1": 100, "q=": 0, "q=1.001": 0, "q=0.1234": 0, "q=.5": 0, "q=2": 0, "q=-1": 0, "q=0.x": 0, "q=1e3": 0, "q=0.5;q=1": 500,
	} {
		if got := weight(params); got != want {
			t.Errorf("weight(%q) = %d, want %d", params, got, want)
		}
	}
}

// FuzzAccepted: a list says the same in one line and in several, weights are in
// bounds, and what is refused by name is never chosen.
func FuzzAccepted(f *testing.F) {
	for _, s := range []string{"gzip, deflate, br, zstd", "gzip;q=0, *", "identity;q=1, gzip;q=0.5", "*;q=0.1,zstd;q=0", ",;=,gzip;;q=1"} {
		f.Add(s)
	}
	used, err := newEncoders(&Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header string) {
		zstd, gzip, plain := accepted([]string{header})
		z, g, p := accepted(strings.Split(header, ","))
		if zstd != z || gzip != g || plain != p {
			t.Fatalf("accepted(%q) = %d, %d, %d, and %d, %d, %d in lines", header, zstd, gzip, plain, z, g, p)
		}
		for _, q := range []int{zstd, gzip, plain} {
			if q < 0 || q > 1000 {
				t.Fatalf("accepted(%q) = %d, %d, %d, want 0 to 1000", header, zstd, gzip, plain)
			}
		}
		got := used.known(zstd, gzip, plain)
		if got.best == zstded && zstd == 0 || got.best == gzipped && gzip == 0 || got.gzip && gzip == 0 {
			t.Fatalf("%q is answered with %+v", header, got)
		}
		zstd, gzip, plain = accepted([]string{"zstd;q=0, gzip;q=0", header + "x"})
		if got := used.known(zstd, gzip, plain); !strings.Contains(strings.ToLower(header+"x"), "zip") && got.best == gzipped {
			t.Fatalf("%q is answered with %+v after a refusal", header, got)
		}
	})
}
