package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func callCommand(w world) *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use:   "call SERVICE ENDPOINT [JSON]",
		Short: "Call a method of a service",
		Long: `call calls a method of a service through the gateway and prints the reply. The
request is JSON: the third argument, standard input when that is "-", or {}.`,
		Example: `  goapi call greeter Greeter.Hello '{"name":"john"}'`,
		Args:    fromTo(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := []byte("{}")
			switch {
			case len(args) == 3 && args[2] == "-":
				b, err := io.ReadAll(w.in)
				if err != nil {
					return fmt.Errorf("standard input: %w", err)
				}
				request = b
			case len(args) == 3:
				request = []byte(args[2])
			}
			if !json.Valid(request) {
				return fmt.Errorf("the request is not JSON: %s", printable(string(request[:min(len(request), 80)])))
			}
			c, err := f.client()
			if err != nil {
				return err
			}
			reply, err := c.Call(cmd.Context(), args[0], args[1], request)
			if err != nil {
				return err
			}
			return printJSON(w.out, reply)
		},
	}
	f.add(cmd, w)
	return cmd
}
