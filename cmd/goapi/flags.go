package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagsFromEnv sets each flag that was not given from GOAPI_ and its name:
// --log-level from GOAPI_LOG_LEVEL. Repeated values are split at white space.
// Commands that talk to a gateway take only where it is: their other flags may
// have the names of the gateway's.
func flagsFromEnv(cmd *cobra.Command, env func(string) (string, bool)) error {
	server := cmd.Name() == "run" || cmd.Name() == "demo"
	return setFromEnv(cmd.Flags(), env, func(flag string) bool { return server || strings.HasPrefix(flag, "admin") })
}

// setFromEnv sets those of the flags that were not given and may be.
func setFromEnv(flags *pflag.FlagSet, env func(string) (string, bool), may func(flag string) bool) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" || !may(f.Name) {
			return
		}
		name := "GOAPI_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := env(name)
		if !ok || value == "" {
			return
		}
		values := []string{value}
		if _, repeated := f.Value.(pflag.SliceValue); repeated {
			values = strings.Fields(value)
		}
		for _, v := range values {
			if err := flags.Set(f.Name, v); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	})
	return errors.Join(errs...)
}

// newLogger returns the logger that --log-level and --log-format ask for.
func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l})), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l, ReplaceAttr: withUnit})), nil
	}
	return nil, fmt.Errorf("--log-format %q: want text or json", format)
}

// withUnit makes a time "1.5s", which in JSON is a number of nanoseconds otherwise.
func withUnit(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// captureLog makes what libraries say through package log, which is about
// single connections, a part of the log.
func captureLog(log *slog.Logger) {
	slog.SetLogLoggerLevel(slog.LevelDebug)
	slog.SetDefault(log) //nolint:forbidigo // for the libraries that have no other way
}

// readSecret returns the first line of a file that holds a token, or "" for no
// file. The token itself never shows in an error.
func readSecret(flag, file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file) //nolint:gosec // the operator names it
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flag, err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", fmt.Errorf("--%s %s: the file holds no token on its first line", flag, file)
	}
	return line, nil
}

// fromTo takes a number of arguments within bounds. The error says what to write.
func fromTo(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if n := len(args); n < least || n > most {
			return fmt.Errorf("wrong number of arguments: write %s", cmd.UseLine())
		}
		return nil
	}
}
