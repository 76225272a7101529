package compress

import "strings"

// coding is a content coding.
type coding string

const (
	identity coding = ""
	gzipped  coding = "gzip"
	zstded   coding = "zstd"
)

// codings are those that a client takes.
type codings struct {
	best coding // identity is none
	gzip bool   // it takes gzip as well
}

// accepted returns how much an Accept-Encoding header wants each coding, in
// thousandths: 0 is not at all. What is plain is wanted only if that is said.
func accepted(header []string) (zstd, gzip, plain int) {
	zstd, gzip, plain, others := -1, -1, -1, -1
	for _, list := range header {
		for item := range strings.SplitSeq(list, ",") {
			name, params, _ := strings.Cut(item, ";")
			q := weight(params)
			switch name = strings.TrimSpace(name); {
			case strings.EqualFold(name, "zstd"):
				zstd = q
			case strings.EqualFold(name, "gzip"), strings.EqualFold(name, "x-gzip"):
				gzip = q
			case strings.EqualFold(name, "identity"):
				plain = q
			case name == "*":
				others = q
			}
		}
	}
	if zstd < 0 {
		zstd = others
	}
	if gzip < 0 {
		gzip = others
	}
	return max(zstd, 0), max(gzip, 0), max(plain, 0)
}

// weight returns a q parameter in thousandths; 1000 if there is none, and 0 if
// it is malformed.
func weight(params string) int {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			return thousandths(strings.TrimSpace(value))
		}
	}
	return 1000
}

// thousandths returns a number from 0 to 1 with at most three decimals.
func thousandths(s string) int {
	whole, decimals, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(decimals) > 3 {
		return 0
	}
	n := int(whole[0] - '0')
	for i := range 3 {
		digit := byte('0')
		if i < len(decimals) {
			digit = decimals[i]
		}
		if digit < '0' || digit > '9' {
			return 0
		}
		n = 10*n + int(digit-'0')
	}
	if n > 1000 {
		return 0
	}
	return n
}
