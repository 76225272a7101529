package middleware

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/goapi-dev/goapi"
)

// The bounds of the values of a line, in bytes.
const (
	maxLogWord = 128 // methods, names, ids
	maxLogHost = 255
	maxLogText = 512 // paths, queries, user agents
	maxLogErr  = 1024
)

// access is a request as the log tells it.
type access struct {
	ex                        *goapi.Exchange
	r                         *http.Request
	method, host, path, query string
	body                      *countedBody // nil for none
	status                    int
	grpc                      string // the status of gRPC
	cut                       bool   // the handler did not return
}

// judge says how the request has ended.
func (a *access) judge(answer http.Header) {
	a.status = a.ex.Status
	if a.status == 0 && !a.cut {
		a.status = http.StatusOK // which net/http answers for a handler that wrote nothing
	}
	if kind := a.r.Header["Content-Type"]; len(kind) > 0 && strings.HasPrefix(kind[0], "application/grpc") {
		for _, name := range []string{"Grpc-Status", http.TrailerPrefix + "Grpc-Status"} {
			if v := answer[name]; len(v) > 0 {
				a.grpc = v[0]
			}
		}
	}
}

// failed says that the request is to be logged whatever the sample is.
func (a *access) failed() bool {
	return a.cut || a.status >= http.StatusBadRequest || a.ex.Err != nil || a.grpc != "" && a.grpc != "0"
}

// appendTo appends the line to b.
func (a *access) appendTo(b []byte, now time.Time, query bool) []byte {
	b = append(b, `{"time":"`...)
	b = now.UTC().Truncate(time.Microsecond).AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","msg":"request"`...)
	b = appendText(b, "method", a.method, maxLogWord)
	b = appendText(b, "host", a.host, maxLogHost)
	b = appendText(b, "path", a.path, maxLogText)
	if query && a.query != "" {
		b = appendText(b, "query", queryNames(a.query), maxLogText)
	}
	b = appendInt(b, "status", int64(a.status))
	in := int64(0)
	if a.body != nil {
		in = a.body.n.Load()
	}
	b = appendInt(b, "bytes_in", in)
	b = appendInt(b, "bytes_out", a.ex.Written)
	b = appendMillis(b, "duration_ms", now.Sub(a.ex.Began))
	b = a.appendRoute(b)
	b = a.appendCaller(b)
	b = appendText(b, "protocol", a.r.Proto, maxLogWord)
	if a.r.TLS != nil {
		b = appendText(b, "tls", tls.VersionName(a.r.TLS.Version), maxLogWord)
	}
	b = appendText(b, "user_agent", a.r.UserAgent(), maxLogText)
	b = appendText(b, "grpc_status", a.grpc, maxLogWord)
	if a.ex.Err != nil {
		b = appendText(b, "error", withoutSecrets(a.ex.Err.Error()), maxLogErr)
	}
	if a.cut {
		b = append(b, `,"cut":true`...)
	}
	return append(b, "}\n"...)
}

// appendRoute appends what served the request.
func (a *access) appendRoute(b []byte) []byte {
	if rt := a.ex.Route; rt != nil {
		b = appendText(b, "route", rt.Pattern, maxLogText)
		b = appendText(b, "service", rt.Service, maxLogHost)
		b = appendText(b, "endpoint", rt.Endpoint.Name, maxLogHost)
		b = appendText(b, "handler", rt.Endpoint.Handler, maxLogWord)
	}
	if a.ex.Attempts > 0 {
		b = appendText(b, "node", a.ex.Node, maxLogHost)
		b = appendInt(b, "attempts", int64(a.ex.Attempts))
	}
	if a.ex.Upstream > 0 {
		b = appendMillis(b, "upstream_ms", a.ex.Upstream)
	}
	return b
}

// appendCaller appends who sent the request, and by which names others know it.
func (a *access) appendCaller(b []byte) []byte {
	if ip := a.clientIP(); ip.IsValid() {
		b = append(b, `,"client":"`...)
		b = append(ip.AppendTo(b), '"') // parsed: nothing to escape
	}
	if id := a.ex.Identity; id != nil {
		b = appendText(b, "subject", id.Subject, maxLogHost)
		b = appendText(b, "auth", id.Method, maxLogWord)
	}
	b = appendText(b, "trace_id", traceID(a.r.Header), maxLogWord)
	return appendText(b, "request_id", requestIDOf(a.r.Header), maxRequestID)
}

// clientIP returns the address of the client, or else of the peer.
func (a *access) clientIP() netip.Addr {
	if a.ex.Client.IsValid() {
		return a.ex.Client.WithZone("")
	}
	peer, err := netip.ParseAddrPort(a.r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap().WithZone("")
}

// traceID returns the trace that a request belongs to, as W3C Trace Context
// writes it; empty for none.
func traceID(h http.Header) string {
	values := h["Traceparent"]
	if len(values) != 1 || len(values[0]) < 55 || values[0][2] != '-' || values[0][35] != '-' {
		return ""
	}
	id := values[0][3:35]
	zero := true
	for i := range len(id) {
		c := id[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
		zero = zero && c == '0'
	}
	if zero {
		return ""
	}
	return id
}

// queryNames returns a query without its values. A part that has no "=" may be
// a value.
func queryNames(query string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(query, "&") {
		name, _, ok := strings.Cut(part, "=")
		if b.Len() > maxLogText {
			break
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		if ok {
			b.WriteString(name)
			b.WriteByte('=')
		}
	}
	return b.String()
}

// withoutSecrets returns the text of an error on one line, and its URLs without
// user and query.
func withoutSecrets(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(c rune) bool { return c == '\n' || c == '\r' }), " ")
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(text, "://")
		if !ok {
			b.WriteString(text)
			return b.String()
		}
		end := strings.IndexAny(after, " \t\"'`<>()")
		if end < 0 {
			end = len(after)
		}
		u := after[:end]
		text = after[end:]
		u, _, _ = strings.Cut(u, "#")
		u, query, asked := strings.Cut(u, "?")
		host, path, slash := strings.Cut(u, "/")
		b.WriteString(before + "://" + host[strings.LastIndexByte(host, '@')+1:])
		if slash {
			b.WriteString("/" + path)
		}
		if asked {
			b.WriteByte('?')
			if strings.HasSuffix(query, ":") { // what went wrong with the URL follows
				b.WriteByte(':')
			}
		}
	}
}

// appendInt appends a field that holds a number.
func appendInt(b []byte, key string, n int64) []byte {
	return strconv.AppendInt(appendKey(b, key), n, 10)
}

// appendMillis appends a field that holds a duration, to the microsecond.
func appendMillis(b []byte, key string, d time.Duration) []byte {
	micros := max(d.Microseconds(), 0)
	b = strconv.AppendInt(appendKey(b, key), micros/1000, 10)
	rest := micros % 1000
	return append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
}

// appendText appends a field that holds a text of at most limit bytes; nothing
// for an empty one.
func appendText(b []byte, key, s string, limit int) []byte {
	if s == "" {
		return b
	}
	b = append(appendKey(b, key), '"')
	if len(s) <= limit {
		return append(appendEscaped(b, s), '"')
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return append(appendEscaped(b, s[:limit]), "…\""...)
}

func appendKey(b []byte, key string) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

// appendEscaped appends s as JSON has it between quotes. What is not printable is
// escaped, whatever JSON allows: terminals read it.
func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if ' ' <= c && c <= '~' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		case c < utf8.RuneSelf:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			i++
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			b = appendRune(b, r, size)
			i += size
		}
		start = i
	}
	return append(b, s[start:]...)
}

// appendRune appends a character beyond ASCII, of so many bytes.
func appendRune(b []byte, r rune, size int) []byte {
	const hex = "0123456789abcdef"
	switch {
	case unicode.IsPrint(r) && (r != utf8.RuneError || size > 1):
		return utf8.AppendRune(b, r)
	case r > 0xffff:
		r = utf8.RuneError // a pair of escapes would be no clearer
	}
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

// appendLost appends a line that says how many there are not.
func appendLost(b []byte, n uint64) []byte {
	b = append(b, `{"time":"`...)
	b = time.Now().UTC().Truncate(time.Microsecond).AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","msg":"lines lost","lost":`...)
	return append(strconv.AppendUint(b, n, 10), "}\n"...)
}
