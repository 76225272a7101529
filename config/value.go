package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A scalar is a value that is one text in the file. The error of its
// UnmarshalText says what is wanted, and shows nothing of the text.
type scalar interface {
	UnmarshalText(text []byte) error
	MarshalText() ([]byte, error)
	schema() map[string]any
}

var (
	_ scalar = (*Duration)(nil)
	_ scalar = (*Size)(nil)
	_ scalar = (*Limit)(nil)
	_ scalar = (*AutoLimit)(nil)
	_ scalar = (*Prefix)(nil)
	_ scalar = (*Secret)(nil)
	_ scalar = (*Path)(nil)
)

// A Duration is a time such as 5s or 1m30s.
type Duration time.Duration //nolint:recvcheck // read through a pointer, used as a value

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	t, err := time.ParseDuration(s)
	if _, number := strconv.ParseFloat(s, 64); number == nil {
		return fmt.Errorf("a time with its unit, such as %ss", s)
	}
	if err != nil || strings.HasPrefix(s, "+") {
		return errors.New("a time such as 5s, 250ms or 1m30s")
	}
	*d = Duration(t)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String returns the time as people write it: 5m, not 5m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

func (*Duration) schema() map[string]any {
	return map[string]any{"type": "string", "pattern": `^-?([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*$`}
}

// A Size is a number of bytes, such as 65536, 64KiB or 4MiB.
type Size int64 //nolint:recvcheck // read through a pointer, used as a value

// sizeUnits are the units of sizes, the larger first.
func sizeUnits() []struct {
	name  string
	bytes int64
} {
	return []struct {
		name  string
		bytes int64
	}{
		{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
	}
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := string(text), int64(1)
	for _, u := range sizeUnits() {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) || err == nil && n > math.MaxInt64/unit:
		return errors.New("a size below 8 EiB")
	case err != nil || !isDigits(number):
		return errors.New("a size such as 65536, 64KiB or 4MiB")
	}
	*s = Size(n * unit)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String returns the size in the largest unit that it is a multiple of.
func (s Size) String() string {
	for _, u := range sizeUnits()[:3] {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

func (*Size) schema() map[string]any {
	return map[string]any{"anyOf": []any{
		map[string]any{"type": "integer", "minimum": 0},
		map[string]any{"type": "string", "pattern": "^[0-9]+(GiB|MiB|KiB|GB|MB|kB|KB|B)?$"},
	}}
}

// A Limit is a number above 0, or none.
type Limit int //nolint:recvcheck // read through a pointer, used as a value

// What a limit is that is no number.
const (
	// None lifts the limit that a less specific policy sets.
	None Limit = -1
	// Auto is a limit that follows what the service can take.
	Auto AutoLimit = -2
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Limit) UnmarshalText(text []byte) error {
	if string(text) == "none" {
		*l = None
		return nil
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || n <= 0 || n > math.MaxInt32 || !isDigits(string(text)) {
		return errors.New("a number above 0, or none")
	}
	*l = Limit(n)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (l Limit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// String returns the limit as it is written.
func (l Limit) String() string {
	if l == None {
		return "none"
	}
	return strconv.Itoa(int(l))
}

func (*Limit) schema() map[string]any { return limitSchema("none") }

// An AutoLimit is a Limit, or auto.
type AutoLimit int //nolint:recvcheck // read through a pointer, used as a value

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *AutoLimit) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*l = Auto
		return nil
	}
	var number Limit
	if err := number.UnmarshalText(text); err != nil {
		return errors.New("a number above 0, auto or none")
	}
	*l = AutoLimit(number)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (l AutoLimit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// String returns the limit as it is written.
func (l AutoLimit) String() string {
	if l == Auto {
		return "auto"
	}
	return Limit(l).String()
}

func (*AutoLimit) schema() map[string]any { return limitSchema("none", "auto") }

func limitSchema(words ...any) map[string]any {
	return map[string]any{"anyOf": []any{
		map[string]any{"type": "integer", "minimum": 1, "maximum": math.MaxInt32},
		map[string]any{"type": "string", "pattern": "^0*[1-9][0-9]*$"},
		map[string]any{"enum": words},
	}}
}

// A Prefix is the addresses of a network: 10.0.0.0/8, or one address.
type Prefix struct{ netip.Prefix }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Prefix) UnmarshalText(text []byte) error {
	s := string(text)
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" && !ip.Is4In6() {
		p.Prefix = netip.PrefixFrom(ip, ip.BitLen())
		return nil
	}
	parsed, err := netip.ParsePrefix(s)
	switch {
	case err != nil || parsed.Addr().Is4In6():
		return errors.New("an IP address, or a network such as 10.0.0.0/8")
	case parsed.Masked() != parsed:
		return fmt.Errorf("the first address of the network, %s", parsed.Masked())
	}
	p.Prefix = parsed
	return nil
}

func (*Prefix) schema() map[string]any {
	return map[string]any{"type": "string", "pattern": "^[0-9A-Fa-f]*[:.][0-9A-Fa-f:.]*(/[0-9]{1,3})?$"}
}

// prefixes returns the networks of a list.
func prefixes(list []Prefix) []netip.Prefix {
	all := make([]netip.Prefix, len(list))
	for i, p := range list {
		all[i] = p.Prefix
	}
	return all
}

// hidden is shown for a secret.
const hidden = "(hidden)"

// A Secret is a text that is shown nowhere.
type Secret string //nolint:recvcheck // read through a pointer, used as a value

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}

// MarshalText implements encoding.TextMarshaler: it hides the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// String hides the secret.
func (Secret) String() string { return hidden }

// GoString hides the secret.
func (Secret) GoString() string { return hidden }

// LogValue implements slog.LogValuer: it hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

func (*Secret) schema() map[string]any { return map[string]any{"type": "string"} }

// A Path names a file. A relative one starts at the directory of the file that
// it is in; what Load returns is not relative to that any more.
type Path string //nolint:recvcheck // read through a pointer, used as a value

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Path) UnmarshalText(text []byte) error {
	if s := string(text); strings.TrimSpace(s) == "" || strings.ContainsRune(s, 0) {
		return errors.New("the name of a file")
	}
	*p = Path(text)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (p Path) MarshalText() ([]byte, error) { return []byte(p), nil }

func (*Path) schema() map[string]any {
	return map[string]any{"type": "string", "pattern": formats()[formatFile].pattern}
}

// isDigits says whether s is digits and nothing else.
func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
