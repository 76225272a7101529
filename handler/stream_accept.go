package handler

import (
	"mime"
	"strings"
)

// The content types in which the messages of a service are an answer without
// an end.
const (
	typeEvents   = "text/event-stream"
	typeNDJSON   = "application/x-ndjson"
	typeNDJSON2  = "application/ndjson" // the same by other names
	typeJSONL    = "application/jsonl"
	streamAccept = typeEvents + ", " + typeNDJSON + " or " + typeJSONL
)

// streamType returns which of these types an Accept header asks for: the one
// with the highest weight, of equal ones the first. It is empty if the header
// names none of them: who takes anything does not expect an answer without an
// end.
func streamType(accept []string) string {
	var best string
	most := 0
	for _, list := range accept {
		for list != "" {
			var element string
			element, list = cutElement(list)
			kind, params, err := mime.ParseMediaType(element)
			if err != nil || !isStreamType(kind) {
				continue
			}
			if weight := weightOf(params); weight > most {
				best, most = kind, weight
			}
		}
	}
	return best
}

func isStreamType(kind string) bool {
	switch kind {
	case typeEvents, typeNDJSON, typeNDJSON2, typeJSONL:
		return true
	}
	return false
}

// cutElement cuts the first element off a list. A comma in a quoted text does
// not end one.
func cutElement(list string) (element, rest string) {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case '"':
			quoted = !quoted
		case '\\':
			if quoted {
				i++
			}
		case ',':
			if !quoted {
				return list[:i], list[i+1:]
			}
		}
	}
	return list, ""
}

// weightOf returns the weight of an element, in thousandths; 0 for one that is
// not wanted or malformed.
func weightOf(params map[string]string) int {
	q, ok := params["q"]
	if !ok {
		return 1000
	}
	whole, fraction, _ := strings.Cut(q, ".")
	if len(whole) != 1 || whole[0] > '1' || len(fraction) > 3 || !isDigits(whole+fraction) {
		return 0
	}
	weight := 0
	for _, digit := range whole + fraction + "000"[len(fraction):] {
		weight = weight*10 + int(digit-'0')
	}
	if weight > 1000 {
		return 0
	}
	return weight
}
