package handler

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf8"
)

// appendEvent appends a go.api.Event as encoding/json writes it, with the
// characters of HTML as they are. All texts are UTF-8. It is not protojson,
// whose spaces are random: the messages of go.api are the same in both.
func appendEvent(b []byte, name, id string, timestamp int64, header http.Header, data []byte) []byte {
	b = append(b, '{')
	if name != "" {
		b = append(appendText(append(b, `"name":`...), name), ',')
	}
	b = appendText(append(b, `"id":`...), id)
	b = strconv.AppendInt(append(b, `,"timestamp":`...), timestamp, 10)
	if len(header) > 0 {
		b = append(appendPairs(append(b, `,"header":{`...), header), '}')
	}
	if len(data) > 0 {
		b = appendText(append(b, `,"data":`...), data)
	}
	return append(b, '}')
}

// appendPairs appends headers as messages of go.api have them: go.api.Pairs by
// their names, in order.
func appendPairs(b []byte, header http.Header) []byte {
	var room [16]string
	names := slices.AppendSeq(room[:0], maps.Keys(header))
	slices.Sort(names)
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, name), `:{"key":`...)
		b = appendText(b, name)
		for j, value := range header[name] {
			if j == 0 {
				b = append(b, `,"values":[`...)
			} else {
				b = append(b, ',')
			}
			b = appendText(b, value)
		}
		if len(header[name]) > 0 {
			b = append(b, ']')
		}
		b = append(b, '}')
	}
	return b
}

// appendText appends a text in UTF-8 as a string of JSON.
func appendText[T string | []byte](b []byte, text T) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c != 0xe2 {
			continue
		}
		if c == 0xe2 { // which begins U+2028 and U+2029: JavaScript takes them for ends of lines
			if i+2 >= len(text) || text[i+1] != 0x80 || text[i+2]&^1 != 0xa8 {
				continue
			}
			b = append(append(b, text[start:i]...), `\u202`...)
			b = append(b, hex[text[i+2]&0xf])
			i += utf8.RuneLen('\u2028') - 1
			start = i + 1
			continue
		}
		b = append(b, text[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
		start = i + 1
	}
	return append(append(b, text[start:]...), '"')
}
