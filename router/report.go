package router

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A ReportKind says what a Report is about.
type ReportKind string

const (
	// LeftOut is something that is announced and not used: an endpoint, a
	// node, or a service.
	LeftOut ReportKind = "left-out"
	// Conflict is a pattern that waits, because another endpoint has it.
	Conflict ReportKind = "conflict"
)

// A Report says what of the announcements a table does not serve, and why.
type Report struct {
	Kind ReportKind `json:"kind"`
	// Service is the name of the service.
	Service string `json:"service"`
	// Endpoint is the name of the endpoint. Empty if it is not about one.
	Endpoint string `json:"endpoint,omitempty"`
	// Pattern is the path as announced, or several joined by commas. Empty if
	// it is not about any.
	Pattern string `json:"pattern,omitempty"`
	// Node is the id of the node. Empty if it is not about one.
	Node string `json:"node,omitempty"`
	// Reason says what is wrong, in one line.
	Reason string `json:"reason"`
}

// String returns the report in one line.
func (r Report) String() string {
	var b strings.Builder
	b.WriteString("service " + r.Service)
	if r.Endpoint != "" {
		b.WriteString(", endpoint " + r.Endpoint)
	}
	if r.Pattern != "" {
		b.WriteString(", path " + r.Pattern)
	}
	if r.Node != "" {
		b.WriteString(", node " + r.Node)
	}
	b.WriteString(": " + string(r.Kind) + ": " + r.Reason)
	return b.String()
}

// compare orders reports as lists show them.
func (r Report) compare(s Report) int {
	return cmp.Or(
		strings.Compare(r.Service, s.Service),
		strings.Compare(r.Endpoint, s.Endpoint),
		strings.Compare(r.Pattern, s.Pattern),
		strings.Compare(r.Node, s.Node),
		strings.Compare(string(r.Kind), string(s.Kind)),
		strings.Compare(r.Reason, s.Reason),
	)
}

// newReports returns the reports of now that are not in before, in order.
func newReports(before, now []Report) []Report {
	if len(now) == 0 {
		return nil
	}
	known := make(map[Report]struct{}, len(before))
	for _, r := range before {
		known[r] = struct{}{}
	}
	var added []Report
	for _, r := range now {
		if _, ok := known[r]; !ok {
			known[r] = struct{}{}
			added = append(added, r)
		}
	}
	slices.SortFunc(added, Report.compare)
	return added
}

// printable returns s as logs and answers may show it: not longer than limit
// bytes, and with "?" for what is not printable.
func printable(s string, limit int) string {
	s = clip(s, limit)
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return '?'
	}, s)
}
