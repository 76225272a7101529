package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/goapi-dev/goapi/middleware"
)

func keyCommand(w world) *cobra.Command {
	var given bool
	cmd := &cobra.Command{
		Use:   "key OWNER [SCOPE...]",
		Short: "Make an API key, and the line that lets its owner in",
		Long: `key makes an API key of 256 random bits. The key is for its owner, and shown only
now; the line is for the file that the configuration names under identity.keys,
and of no use to whoever reads it there.`,
		Example: `  goapi key partner orders:read orders:write >> keys.txt   # the key is printed to standard error
  goapi key --stdin partner < key.txt >> keys.txt`,
		Args: fromTo(1, math.MaxInt),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, word := range args {
				if word == "" || word[0] == '#' || strings.ContainsFunc(word, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }) {
					return fmt.Errorf("%q: an owner or scope is one word, and does not begin with #", word)
				}
			}
			key := middleware.NewKey()
			if given {
				text, err := bufio.NewReader(w.in).ReadString('\n')
				if err != nil && !errors.Is(err, io.EOF) {
					return fmt.Errorf("standard input: %w", err)
				}
				key = strings.TrimSpace(text)
			}
			line := strings.Join(append([]string{args[0], middleware.HashKey(key)}, args[1:]...), " ")
			if !opens(key, line) {
				return errors.New("the first line of standard input is no key: want 16 to 512 characters without space, which nobody can guess")
			}
			if !given {
				fmt.Fprintf(w.err, "The key of %s, which is shown only now:\n%s\n", args[0], key)
			}
			_, err := fmt.Fprintln(w.out, line)
			return err
		},
	}
	cmd.Flags().BoolVar(&given, "stdin", false, "take the key from the first line of standard input instead of making one")
	return cmd
}

// opens says whether a key lets its owner in where a file has the line.
func opens(key, line string) bool {
	keys, err := middleware.NewKeys(strings.NewReader(line), nil)
	if err != nil {
		return false
	}
	_, err = keys.Authenticate(&http.Request{Header: http.Header{"X-Api-Key": {key}}, URL: new(url.URL)})
	return err == nil
}
