package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/goapi-dev/goapi/config"
)

// configure reads --config, if there is one, and lets it say what neither flags
// nor environment do.
func (c *settings) configure(flags *pflag.FlagSet, env func(string) (string, bool)) error {
	c.file = new(config.File)
	if c.configFile == "" {
		return noName(flags, env)
	}
	file, err := config.Load(c.configFile, env)
	if err != nil {
		return err
	}
	c.file = file
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		values, ok := file.Set(f.Name)
		if f.Changed || !ok {
			return
		}
		c.fromFile = append(c.fromFile, f.Name)
		for _, v := range values {
			if err := flags.Set(f.Name, v); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %w", c.configFile, fileKey(f.Name), err))
			}
		}
	})
	return errors.Join(errs...)
}

// noName returns that a configuration was asked for without its name, as by a
// variable of a script that is not set: without its policies, all would be open.
func noName(flags *pflag.FlagSet, env func(string) (string, bool)) error {
	if f := flags.Lookup("config"); f != nil && f.Changed {
		return errors.New("--config: name a file, or leave the flag out")
	}
	if _, ok := env("GOAPI_CONFIG"); ok {
		return errors.New("GOAPI_CONFIG is empty: name a file, or unset it")
	}
	return nil
}

// fileKey returns the key of the file that says what a flag does.
func fileKey(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

// blame names the key of the file in an error that begins with the flag, if that
// is where the value is from, and the keys of other flags that the error names.
func (c *settings) blame(err error) error {
	if err == nil {
		return nil
	}
	rest, ok := strings.CutPrefix(err.Error(), "--")
	end := strings.IndexAny(rest, " :")
	if !ok || end < 0 || !slices.Contains(c.fromFile, rest[:end]) {
		return err
	}
	key := fileKey(rest[:end])
	advice := flagName.ReplaceAllStringFunc(rest[end:], func(flag string) string { return flag[:1] + fileKey(flag[3:]) })
	return fmt.Errorf("%s: %s%s", c.file.Position(key), key, advice)
}

// flagName is a flag in an error.
var flagName = regexp.MustCompile(` --[a-z][a-z-]*`)

// wrong names the value of a repeated flag that an error is about, by its place in
// the file if it is from there.
func (c *settings) wrong(flag string, i int, err error) error {
	if !slices.Contains(c.fromFile, flag) {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	key := fmt.Sprintf("%s[%d]", fileKey(flag), i)
	return fmt.Errorf("%s: %s: %w", c.file.Position(key), key, err)
}
