package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// A load is what one run of wrk did.
type load struct {
	requests int
	took     time.Duration
}

// wrk sends requests to a URL on so many connections, for so long, on a core.
// A script may be empty. An answer that is no success is an error.
func wrk(ctx context.Context, core, connections int, duration time.Duration, script, url string) (load, error) {
	args := []string{"-t", "1", "-c", strconv.Itoa(connections), "-d", strconv.Itoa(int(duration.Seconds())) + "s", "--timeout", "5s"}
	if script != "" {
		args = append(args, "-s", script)
	}
	cmd, err := pinned(ctx, core, "wrk", append(args, url)...)
	if err != nil {
		return load{}, err
	}
	said, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return load{}, ctx.Err()
	}
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w: %s", err, said)
	}
	return parseWrk(string(said))
}

// parseWrk reads what wrk prints at its end.
func parseWrk(said string) (load, error) {
	if bad := regexp.MustCompile(`Socket errors: .*|Non-2xx or 3xx responses: .*`).FindString(said); bad != "" {
		return load{}, fmt.Errorf("wrk: %s", bad)
	}
	sum := regexp.MustCompile(`(\d+) requests in ([0-9.]+(?:us|ms|s|m|h)),`).FindStringSubmatch(said)
	if sum == nil {
		return load{}, fmt.Errorf("wrk: no sum in %q", said)
	}
	requests, err := strconv.Atoi(sum[1])
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w", err)
	}
	took, err := time.ParseDuration(sum[2])
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w", err)
	}
	if requests == 0 || took == 0 {
		return load{}, errors.New("wrk: no request was answered")
	}
	return load{requests: requests, took: took}, nil
}
