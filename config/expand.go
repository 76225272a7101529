package config

import (
	"fmt"
	"regexp"
	"strings"
)

// variableName is the form of a name in ${NAME}.
const variableName = `[A-Za-z_][A-Za-z0-9_]*`

// isVariable says whether s may name an environment variable.
func isVariable(s string) bool {
	ok, _ := regexp.MatchString("^"+variableName+"$", s) // the expression is right
	return ok
}

// expand returns text with ${NAME}, or ${NAME:-DEFAULT}, replaced by what the
// environment says, and $$ by $. What is replaced is not expanded again.
func expand(text string, env func(string) (string, bool)) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		switch {
		case !found:
			return b.String(), nil
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			text = after[1:]
		case strings.HasPrefix(after, "{"):
			name, rest, closed := strings.Cut(after[1:], "}")
			if !closed {
				return "", fmt.Errorf("%.40q is not closed; write ${NAME}, or $${ for the text itself", "$"+after)
			}
			value, err := variable(name, env)
			if err != nil {
				return "", err
			}
			b.WriteString(value)
			text = rest
		default:
			b.WriteByte('$')
			text = after
		}
	}
}

// variable returns what stands for NAME or NAME:-DEFAULT. An empty variable has
// the default, as in a shell.
func variable(text string, env func(string) (string, bool)) (string, error) {
	name, fallback, has := strings.Cut(text, ":-")
	if !isVariable(name) {
		return "", fmt.Errorf("%.40q is no environment variable; write ${NAME}, or $${%.40s} for the text itself", "${"+text+"}", text)
	}
	value, ok := env(name)
	switch {
	case has && value == "":
		return fallback, nil
	case !ok:
		return "", fmt.Errorf("the environment variable %.80s is not set; set it, or write ${%.80s:-DEFAULT}", name, name)
	}
	return value, nil
}
