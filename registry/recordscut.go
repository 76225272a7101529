package registry

import (
	"encoding/json"
	"strings"
)

// maxCut bounds how deep the values nest of what is cut. The strict reader
// counts from the outermost, and refuses what is far deeper.
const maxCut = 1000

// elements cuts a list, and returns false for what is none. The elements are
// part of it. It looks for the ends of strings and brackets only, which takes a
// fraction of the time that reading takes, and it is right about valid JSON: so
// whoever reads each of them has read the list as strictly as if it were whole.
func elements(text []byte) (list []json.RawMessage, ok bool) {
	i, ok := open(text, 0, '[')
	if !ok {
		return nil, false
	}
	if end, ok := open(text, i, ']'); ok {
		return nil, end == len(text)
	}
	for {
		e, end, ok := cutValue(text, i)
		if !ok {
			return nil, false
		}
		list = append(list, e)
		if i, ok = open(text, end, ','); !ok {
			end, ok = open(text, end, ']')
			return list, ok && end == len(text)
		}
	}
}

// open returns where it goes on after white space and a character, and i and
// false when that is not what there is.
func open(data []byte, i int, c byte) (int, bool) {
	if at := blank(data, i); at < len(data) && data[at] == c {
		return at + 1, true
	}
	return i, false
}

// cutValue returns the value that begins after white space, and where it ends.
func cutValue(data []byte, i int) (value []byte, end int, ok bool) {
	start := blank(data, i)
	if start == len(data) {
		return nil, 0, false
	}
	switch data[start] {
	case '"':
		end = quoted(data, start)
	case '{', '[':
		end = bracketed(data, start)
	default:
		end = word(data, start)
	}
	if end <= start {
		return nil, 0, false
	}
	return data[start:end], end, true
}

// quoted returns where the string ends that begins at i, or -1.
func quoted(data []byte, i int) int {
	for i++; i < len(data); i++ {
		switch data[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}

// bracketed returns where the bracket closes that opens at i, or -1.
func bracketed(data []byte, i int) int {
	for depth := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			if i = quoted(data, i) - 1; i < 0 {
				return -1
			}
		case '{', '[':
			if depth++; depth > maxCut {
				return -1
			}
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// word returns where the number, or the like, ends that begins at i.
func word(data []byte, i int) int {
	for i < len(data) && !strings.ContainsRune(",:\"{}[] \t\n\r", rune(data[i])) {
		i++
	}
	return i
}

// blank returns where white space ends that may begin at i.
func blank(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r') {
		i++
	}
	return i
}
